"""Caption every media file in a folder and below: python examples/caption_folder.py emojax-demo recordings"""

import json
import sys

import emojax


def main(model: str, folder: str) -> list[dict]:
    captioner = emojax.load(model)
    records = []
    for record in captioner.records([folder]):  # as they are made, however many there are
        print(json.dumps(record, ensure_ascii=False))
        records.append(record)
    return records


if __name__ == "__main__":  # decoding workers read this file, too
    main(*sys.argv[1:])
