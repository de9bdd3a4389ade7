"""Phi-3 and Phi-4: fused projections, partial rotary encoding, LongRoPE below and beyond the trained context."""

from .checkpoint import BF16, F16, BYTE_LEVEL, FILES, TOKENIZERS, Model, config


def long_rope(original):
    """LongRoPE of half a head of 32."""
    return dict(rope_type="longrope", partial_rotary_factor=0.5, original_max_position_embeddings=original,
                short_factor=[1.0, 1.02, 1.05, 1.1, 1.2, 1.3, 1.5, 1.7],
                long_factor=[1.0, 1.2, 1.6, 2.5, 4.0, 7.0, 11.0, 15.0])


def phi(dtype, tokenizer, more, **settings):
    return Model(config("Phi3Config", hidden_size=128, pad_token_id=0, **settings), dtype, tokenizer, **more)


def phi_3(dtype, **settings):
    return phi(dtype, TOKENIZERS / "llama2", dict(files=FILES + ("tokenizer.model",)), **settings)


def phi_4(original, **settings):
    """The converter tells Phi-4 by the name of its tokenizer's class."""
    return phi(BF16, BYTE_LEVEL, dict(settings=dict(tokenizer_class="GPT2Tokenizer")),
               rope_parameters=long_rope(original), original_max_position_embeddings=original, **settings)


MODELS = {
    "phi3": phi_3(F16),
    "phi3-window": phi_3(BF16, sliding_window=200),
    "phi3-long-within": phi_4(256),
    "phi3-long-beyond": phi_4(32, tie_word_embeddings=True),
}
