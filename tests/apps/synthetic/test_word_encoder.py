"""The encoder of simulated words points where the features of its sentences do."""

import torch
from torch.nn import functional as F

from mmn.apps.synthetic.simulated_features import WordVectors
from mmn.apps.synthetic.word_encoder import write_word_encoder
from mmn.data.collate import Collator
from mmn.data.tokenizer import QueryTokenizer
from mmn.modeling.text_encoder import SentencePooling, load_encoder

SENTENCES = ["A person opens the door.", "Someone is washing a cup in the kitchen!", "run"]


@torch.no_grad()
def test_sentences_are_the_normalised_sums_of_their_content_words(tmp_path):
    folder = str(write_word_encoder(tmp_path / "encoder", SENTENCES, dim=64, seed=3))
    tokenizer = QueryTokenizer(folder)
    tokens, mask, rows = Collator(tokenizer.pad_id).pad_tokens(tokenizer(SENTENCES))
    encoder, size = load_encoder(folder, with_weights=True)
    found = F.normalize(SentencePooling(encoder).eval().sentence_vectors(tokens, mask)[rows], dim=1)
    words = WordVectors(64, 3)
    wanted = torch.stack([torch.from_numpy(words.sentence(sentence)) for sentence in SENTENCES])
    assert size == 64
    assert ((found * wanted).sum(dim=1) > 0.98).all()  # the LayerNorm takes off each vector's mean
