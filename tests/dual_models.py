"""Small random dual encoders of images and text, as folders that transformers loads."""

import json
from pathlib import Path

from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

from mmn.apps.synthetic.tiny_encoder import build_tokenizer

SENTENCES = ["A man lifts the box.", "The girl is washing a cup in the kitchen.", "Run"]
TEXT = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
IMAGE = {**TEXT, "image_size": 16, "patch_size": 8}
MAX_LENGTH = 16


def write_dual(folder, family, sentences=SENTENCES):
    """The folder of a model of "clip" or "siglip" with its tokenizer; text vectors of 6 or of 8 numbers."""
    tokenizer = build_tokenizer(sentences, 8000, MAX_LENGTH)
    text = {
        **TEXT,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": MAX_LENGTH,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "bos_token_id": tokenizer.cls_token_id,
    }
    if family == "clip":
        parts = {"text_config": {**text, "projection_dim": 6}, "vision_config": {**IMAGE, "projection_dim": 6}}
        model = CLIPModel(CLIPConfig(**parts, projection_dim=6))
    else:
        model = SiglipModel(SiglipConfig(text_config=text, vision_config=IMAGE))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    stated = {"size": {"height": 16, "width": 16}, "resample": 3, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (Path(folder) / "preprocessor_config.json").write_text(json.dumps(stated))
    return str(folder)
