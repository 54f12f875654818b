"""MECap-R1's kind of model: Chinese HuBERT base, CLIP ViT-L/14 and the transcript, captioned by Qwen2-0.5B.

    emojax train --config mecap_r1 --set data.manifest=PATH

Rewarded by paraphrase-multilingual-mpnet-base-v2, as EmotionTalk's own code scores. What the paper leaves open is ours
(learning rates, tokens a stream, both encoders frozen), and its numbers are not reproduced: the data are gated.
0.5 billion weights are trained, 0.7 billion frozen in bfloat16. Meant for one GPU of 80 GB, or eight chips of 16 GB
with `--set mesh.fsdp=8`; not run here on either: `emojax plan --config mecap_r1` says what a step needs.

The encoders and Qwen2 are read from the Hugging Face hub, or from directories by `--set audio.weights=DIR`, and so on.
Chinese HuBERT is published as a pickle: convert it to safetensors once, with the command that the error gives.
"""

from emojax.config import (
    BertConfig,
    Config,
    Data,
    Grpo,
    LlamaConfig,
    Model,
    Optimizer,
    Reward,
    Sft,
    VitConfig,
    Wav2Vec2Config,
)
from emojax.config.concepts import CONCEPTS_ZH, TEMPLATES_ZH


def config() -> Config:
    return Config(
        name="mecap_r1",
        precision="bfloat16",
        frozen_precision="bfloat16",
        steps=1_000,
        sft_steps=5_000,
        checkpoint_every=250,
        caption_tokens=64,
        data=Data(
            audio_seconds=(5.0, 10.0, 20.0),
            frames=8,
            frame_size=224,
            frame_resize=224,
            frame_filter="bicubic",
            transcript_tokens=64,
            workers=8,
        ),
        model=Model(
            audio=Wav2Vec2Config(kind="hubert", tokens=32, weights="TencentGameMate/chinese-hubert-base"),
            video=VitConfig(kind="clip", tokens=8, weights="openai/clip-vit-large-patch14"),
            decoder=LlamaConfig(
                vocab=151_936,
                width=896,
                layers=24,
                heads=14,
                kv_heads=2,
                head_width=64,
                ff=4864,
                rope_theta=1e6,
                positions=131_072,
                start_token=151_643,
                end_token=151_643,
                weights="Qwen/Qwen2-0.5B",
            ),
            remat=True,
        ),
        reward=Reward(
            model="sentence-transformers/paraphrase-multilingual-mpnet-base-v2",
            sizes=BertConfig(
                kind="xlm-roberta",
                vocab=250_002,
                width=768,
                layers=12,
                heads=12,
                ff=3072,
                positions=514,
                first_position=2,
                types=1,
                norm_eps=1e-5,
            ),
            concepts=CONCEPTS_ZH,
            templates=TEMPLATES_ZH,
            max_bytes=384,
            max_tokens=96,
        ),
        sft=Sft(
            batch=32,
            freeze=("encoders.audio.backbone", "encoders.video"),
            optimizer=Optimizer(learning_rate=2e-5),
        ),
        grpo=Grpo(batch=16, group=8, optimizer=Optimizer(learning_rate=1e-6, weight_decay=0.0)),
    )
