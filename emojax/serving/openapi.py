"""The API as OpenAPI 3.1 describes it."""

from importlib.metadata import version
from typing import Any

_NUMBER, _TEXT = {"type": "number"}, {"type": "string"}
_CAPTION = {
    "caption": _TEXT,
    "logprob": _NUMBER | {"description": "of the whole caption, nats"},
    "tokens": {"type": "integer", "description": "that it has, the end included"},
    "probability": _NUMBER | {"description": "geometric mean of its tokens'", "minimum": 0, "maximum": 1},
    "emotions": {
        "type": ["object", "array"],
        "description": "coordinate of each emotion",
        "additionalProperties": _NUMBER,
        "items": _NUMBER,
    },
}
_NEEDED = ["caption", "logprob", "tokens", "probability"]
_ERRORS = {
    "400": "a parameter that is unknown or out of its range, or nothing to caption",
    "403": "a Host that the server is not called by, or a page of another origin",
    "408": "the body came too slowly",
    "413": "the file has too many bytes, or its recording too many seconds",
    "422": "the file cannot be decoded",
    "503": "too many requests at once; Retry-After says when to come again",
    "504": "not captioned in time",
}


def schema(about: dict[str, Any]) -> dict[str, Any]:
    """The document; `about` is what GET /about answers."""
    switch = {"type": "boolean", "default": True}
    parameters = [
        ("id", _TEXT | {"default": "clip", "maxLength": 200}, "name of the clip, which its sampling noise depends on"),
        ("transcript", _TEXT | {"maxLength": 2000}, "what is said"),
        ("audio", switch, "hear the sound of the file"),
        ("video", switch, "see the film of the file"),
        ("samples", _whole(about["samples"]), "captions to draw besides the greedy one"),
        ("seed", _whole(2**32 - 1), "of the draw"),
        ("show", switch | {"default": False}, "add what the captioner hears and sees"),
    ]
    return {
        "openapi": "3.1.0",
        "info": {"title": f"emojax: {about['model']}", "version": version("emojax")},
        "paths": {
            "/caption": {
                "post": {
                    "summary": "Captions a clip",
                    "operationId": "caption",
                    "parameters": [
                        {"name": name, "in": "query", "schema": kind, "description": what}
                        for name, kind, what in parameters
                    ],
                    "requestBody": {
                        "description": f"a media file of at most {about['max_bytes']} bytes; empty: a transcript alone",
                        "content": {"application/octet-stream": {}},
                    },
                    "responses": {"200": _answer("the caption", "Record")}
                    | {status: _answer(what, "Error") for status, what in _ERRORS.items()},
                }
            },
            "/about": {
                "get": {
                    "summary": "What the captioner and the server are",
                    "operationId": "about",
                    "responses": {
                        "200": {
                            "description": "names and limits",
                            "content": {"application/json": {"schema": {"type": "object"}}},
                        }
                    },
                }
            },
        },
        "components": {"schemas": {"Record": _record(), "Caption": _object(_CAPTION, _NEEDED), "Error": _refusal()}},
    }


def _record() -> dict[str, Any]:
    image = _TEXT | {"description": "PNG as a data URL"}
    pairs = {"type": "array", "items": {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2}}
    shown = {
        "seconds": _NUMBER,
        "waveform": {"anyOf": [pairs, {"type": "null"}]},
        "spectrogram": {"anyOf": [image, {"type": "null"}]},
        "frames": {"type": "array", "items": image},
    }
    record = {
        "id": _TEXT,
        **_CAPTION,
        "heard": {"type": "boolean", "description": "the file has sound, and it was not left out"},
        "seen": {"type": "boolean", "description": "likewise of its film"},
        "truncated_seconds": _NUMBER | {"description": "by how much the sound is longer than what is heard"},
        "samples": {"type": "array", "items": {"$ref": "#/components/schemas/Caption"}},
        "shown": _object(shown, list(shown)),
    }
    return _object(record, ["id", *_NEEDED, "heard", "seen"])


def _refusal() -> dict[str, Any]:
    return _object({"error": _TEXT | {"description": "one line"}}, ["error"])


def _object(properties: dict[str, Any], needed: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


def _whole(most: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": 0, "maximum": most, "default": 0}


def _answer(what: str, name: str) -> dict[str, Any]:
    ref = {"$ref": f"#/components/schemas/{name}"}
    return {"description": what, "content": {"application/json": {"schema": ref}}}
