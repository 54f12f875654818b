"""serve: a trained captioner in a browser and as a JSON API."""

import sys
from typing import Annotated

import tyro

from emojax.config import ConfigError, Sampling
from emojax.serving.limits import Limits


def serve(
    model: tyro.conf.Positional[str],
    host: str = "127.0.0.1",
    port: int = 8000,
    name: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    batch_size: int = 8,
    samples: int = 5,
    temperature: float = 1.0,
    top_p: float = 1.0,
    checkpoint: str = "last",
    limits: Annotated[Limits, tyro.conf.arg(name="")] = Limits(),
) -> None:
    """Try a captioner in a browser: upload or record a clip; and POST /caption for programs. Ends by Ctrl-C.

    Args:
        model: run directory of a trained captioner, or an exported one (a directory or a hub id).
        host: address to listen on; others than this machine's own reach it only if it is another one.
        port: to listen on; 0: any that is free.
        name: that the server is called by, besides localhost and --host; may be repeated.
        batch_size: clips captioned at once, of whichever requests.
        samples: captions that a request may have drawn besides the greedy one; 0: none.
        temperature: of the draw.
        top_p: probability mass that tokens are drawn from.
        checkpoint: of a run: last, best (of those that are kept), or its step.
        limits: of requests.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as e:
        raise ConfigError(f"{e.name} is not installed; pip install -e '.[serve]' in the clone") from None
    from emojax import captioning
    from emojax.parallel import compile_cache
    from emojax.serving.app import application
    from emojax.serving.guard import LOCAL
    from emojax.serving.queue import Queue
    from emojax.serving.server import bound, server

    if samples < 0:
        raise ConfigError(f"--samples wants a number from 0 on, got {samples}")
    drawn = Sampling(temperature=temperature, top_p=top_p) if samples else None
    decoding = captioning.Decoding(batch_size, max(samples, 1), drawn)
    socket = bound(host, port)
    compile_cache.use()
    queue = Queue(captioning.load(model, checkpoint=checkpoint), decoding)
    print("compiling, so that no request waits for it", file=sys.stderr)
    queue.compile()
    where = f"[{host}]" if ":" in host else host
    print(f"{queue.model}: http://{where}:{socket.getsockname()[1]}", file=sys.stderr, flush=True)
    server(application(queue, limits, (*LOCAL, host, *name)), limits).run(sockets=[socket])
