"""Llama, Mistral and Mixtral: every spelling of rotary scaling, of biases and of tokenizers."""

from .checkpoint import BF16, BYTE_LEVEL, F16, F32, FILES, SENTENCEPIECE, TOKENIZERS, Model, config

LLAMA_3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
               original_max_position_embeddings=128)
LINEAR = dict(rope_type="linear", factor=4.0)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=128)
# The engine takes 32 and 1 for them in this architecture, whatever the file says.
OTHER_BETAS = dict(YARN, beta_fast=16.0, beta_slow=2.0)

# Tokens as objects, templates as a list, added tokens stated twice: how checkpoints of Llama 2's time look.
TOKEN = dict(__type="AddedToken", lstrip=False, normalized=True, rstrip=False, single_word=False)
LLAMA_2_SETTINGS = dict(
    tokenizer_class="LlamaTokenizer", add_bos_token=True, add_eos_token=False, add_prefix_space=True, pad_token=None,
    bos_token=dict(TOKEN, content="<s>"), eos_token=dict(TOKEN, content="</s>"), unk_token=dict(TOKEN, content="<unk>"),
    added_tokens_decoder={
        "0": dict(content="<unk>", special=True), "1": dict(content="<s>", special=True),
        "2": dict(content="</s>", special=True), "32000": dict(content="<|im_end|>", special=False),
        "32001": dict(content="\u2581two\u2581words", special=False)},
    chat_template=[dict(name="default", template="{{ messages }}\n"), dict(name="tool use", template="{{ tools }}")],
)


def llama(dtype, tokenizer, more=None, **settings):
    return Model(config("LlamaConfig", **settings), dtype, tokenizer, **(more or {}))


MODELS = {
    "llama": llama(F16, SENTENCEPIECE),
    "llama-tied-sharded": llama(BF16, SENTENCEPIECE, dict(shard="100KB"), tie_word_embeddings=True),
    "llama-3-scaled": llama(BF16, BYTE_LEVEL, rope_scaling=LLAMA_3, rope_theta=500000.0),
    "llama-3-scaled-old": llama(F16, BYTE_LEVEL, dict(old_rope=True), rope_scaling=LLAMA_3, rope_theta=500000.0,
                                head_dim=32),
    "llama-linear": llama(BF16, BYTE_LEVEL, dict(old_rope=True), rope_scaling=LINEAR, num_key_value_heads=4),
    "llama-yarn": llama(BF16, BYTE_LEVEL, rope_scaling=YARN, head_dim=32),
    "llama-yarn-betas": llama(BF16, BYTE_LEVEL, dict(runs=False), rope_scaling=OTHER_BETAS, head_dim=32),
    "llama-bias": llama(F32, SENTENCEPIECE, attention_bias=True, mlp_bias=True),
    "llama-tokenizer-model": llama(BF16, TOKENIZERS / "llama2", dict(
        files=FILES + ("tokenizer.model",), settings=LLAMA_2_SETTINGS, beyond=5)),
    "llama-tokenizer-model-alone": llama(BF16, TOKENIZERS / "llama2", dict(files=("tokenizer.model",))),
    "llama-tokenizer-json": llama(BF16, TOKENIZERS / "llama2"),
    "llama-smol": llama(BF16, TOKENIZERS / "SmolLM2-135M-Instruct", tie_word_embeddings=True),
    "llama-mixed": llama(F32, SENTENCEPIECE, dict(shard="100KB", mixed=True)),
    "mistral": Model(config("MistralConfig", sliding_window=None), BF16, SENTENCEPIECE),
    "mixtral": Model(config("MixtralConfig", num_local_experts=4, num_experts_per_tok=2), BF16, SENTENCEPIECE),
}
