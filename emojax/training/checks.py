"""What is known of both stages before either trains: settings and files that would stop the second are told at once."""

from emojax.config import Config, ConfigError
from emojax.config.schema import media_positions
from emojax.data.text import train_tokenizer
from emojax.decoder import lm, pretrained
from emojax.training.program import sft_program
from emojax.training.stage_mesh import stage_mesh
from emojax.training.stages import judged


def check(cfg: Config) -> None:
    """Both stages: names of weights, batches on this mesh, positions of the decoder, the reward and its files.

    Args:
      cfg: with the sizes of its pretrained parts.
    Raises:
      ConfigError, FileNotFoundError, ValueError: what training would raise, of either stage.
    """
    try:
        lm.require_room(media_positions(cfg.model) + cfg.data.transcript_tokens, cfg.caption_tokens, cfg.model.decoder)
    except ValueError as e:
        raise ConfigError(str(e)) from None
    sft_program(cfg, stage_mesh(cfg, "sft"))
    # any tokenizer that is trained here can be converted, so one of a few words stands for it
    own = cfg.model.decoder.weights == ""
    tokenizer = train_tokenizer(["a calm voice"], cfg.model.decoder.vocab) if own else pretrained.tokenizer(cfg)
    judged(cfg, tokenizer)
