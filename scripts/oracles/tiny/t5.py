"""T5: the first one, whose logits are scaled and which has no gate, FLAN-T5, UMT5, and the encoder alone."""

import torch
import transformers

from .checkpoint import BF16, F16, F32, Model
from .encoders import GELU, READER, pooled
from .made_tokenizers import T5

WRITER = "AutoModelForSeq2SeqLM"
FILES = ("tokenizer.json", "tokenizer_config.json", "spiece.model")


def t5(kind="T5Config", **more):
    return getattr(transformers, kind)(**dict(
        dict(d_model=64, d_kv=24, d_ff=96, num_layers=3, num_decoder_layers=2, num_heads=3, n_positions=512,
             eos_token_id=1, pad_token_id=0, decoder_start_token_id=0), **more))


def untie(model):
    """Gives the output a matrix of its own, as T5 1.1 and FLAN-T5 have it."""
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.shared.weight) * 0.05)


MODELS = {
    "t5": Model(t5(), F32, T5, WRITER, files=FILES, beyond=28),
    "t5-gated": Model(t5(feed_forward_proj="gated-gelu", tie_word_embeddings=False), BF16, T5, WRITER, files=FILES,
                      max_error=GELU),
    "t5-untied": Model(t5(feed_forward_proj="gated-gelu", tie_word_embeddings=False), F32, T5, WRITER, files=FILES,
                       max_error=GELU, weights=untie),
    "umt5": Model(t5("UMT5Config", feed_forward_proj="gated-gelu"), F32, T5, WRITER, files=FILES, max_error=GELU),
    "t5-encoder": Model(t5(), F16, T5, "T5EncoderModel", files=FILES, saved=pooled(pooling_mode_mean_tokens=True)),
}
