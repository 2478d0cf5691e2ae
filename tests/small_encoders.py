"""Text encoders of several families with random weights, 8 wide, of 20 words and 40 positions."""

from transformers import (
    BertConfig,
    BertModel,
    CLIPTextConfig,
    CLIPTextModel,
    DistilBertConfig,
    DistilBertModel,
    FlaubertConfig,
    FlaubertModel,
    LlamaConfig,
    LlamaModel,
    ModernBertConfig,
    ModernBertModel,
    RobertaConfig,
    RobertaModel,
)

SIZES = {"vocab_size": 20, "max_position_embeddings": 40}
BERT_SIZES = {**SIZES, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}


def bert():
    return BertModel(BertConfig(**BERT_SIZES))


def distilbert():
    return DistilBertModel(DistilBertConfig(**SIZES, dim=8, n_layers=2, n_heads=2, hidden_dim=16))


def roberta():
    return RobertaModel(RobertaConfig(**BERT_SIZES))


def clip():
    return CLIPTextModel(CLIPTextConfig(**BERT_SIZES))


def llama():
    return LlamaModel(LlamaConfig(**BERT_SIZES))


def flaubert():
    return FlaubertModel(FlaubertConfig(vocab_size=20, emb_dim=8, n_layers=2, n_heads=2))


def modernbert(local_attention=8, positions=40):
    special = {f"{name}_token_id": number for number, name in enumerate(("pad", "bos", "eos", "cls", "sep"))}
    sizes = {**BERT_SIZES, "max_position_embeddings": positions}
    return ModernBertModel(ModernBertConfig(**sizes, **special, local_attention=local_attention))
