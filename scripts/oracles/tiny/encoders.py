"""What reads and does not write: BERT and its kin, alone, as sentence-transformers store them, and as rerankers."""

import json

from .checkpoint import BF16, BYTE_LEVEL, F16, F32, TOKENIZERS, Model, config
from .made_tokenizers import WORD_PIECE, XLM_ROBERTA

READER = "AutoModel"
SCORER = "AutoModelForSequenceClassification"
# ggml looks GELU up in a table of 16-bit floats.
GELU = 5e-4


def bert(kind, **more):
    return config(kind, **dict(dict(num_key_value_heads=None, bos_token_id=None, eos_token_id=None), **more))


def pooled(**kind):
    """Writes what sentence-transformers has beside a model."""

    def saved(folder):
        modules = [dict(idx=0, name="0", path="", type="sentence_transformers.models.Transformer"),
                   dict(idx=1, name="1", path="1_Pooling", type="sentence_transformers.models.Pooling")]
        (folder / "modules.json").write_text(json.dumps(modules))
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling/config.json").write_text(json.dumps(dict(word_embedding_dimension=64, **kind)))

    return saved


def nomic(folder):
    """Names fields of config.json as the released checkpoints do, too."""
    stated = json.loads((folder / "config.json").read_text())
    older = dict(n_embd="hidden_size", n_head="num_attention_heads", n_layer="num_hidden_layers",
                 n_inner="intermediate_size", type_vocab_size="type_vocab_size")
    stated.update({old: stated[new] for old, new in older.items()})
    stated.update(activation_function="swiglu", causal=False, mlp_fc1_bias=False, mlp_fc2_bias=False, n_positions=8192,
                  prenorm=False, qkv_proj_bias=False, rotary_emb_base=1000, rotary_emb_fraction=1.0,
                  rotary_emb_interleaved=False, rotary_emb_scale_base=None)
    (folder / "config.json").write_text(json.dumps(stated))
    pooled(pooling_mode_mean_tokens=True)(folder)


def modern(**more):
    return bert("ModernBertConfig", **dict(dict(num_hidden_layers=5, local_attention=16, layer_norm_eps=1e-5, pad_token_id=0,
                                                bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2), **more))


def answer(logits):
    """What Qwen3-Reranker makes of its last logits: how likely one word is, and the other."""
    vocabulary = json.loads((TOKENIZERS / "SmolLM2-135M-Instruct/tokenizer.json").read_text())["model"]["vocab"]
    return logits[-1][[vocabulary["yes"], vocabulary["no"]]].softmax(0)


def reranker(**more):
    return Model(config("Qwen3Config", head_dim=32, **more), F32, TOKENIZERS / "SmolLM2-135M-Instruct", scores=answer)


MODELS = {
    "bert": Model(bert("BertConfig"), F32, WORD_PIECE, READER, max_error=GELU),
    "bert-mean": Model(bert("BertConfig", num_hidden_layers=2), F16, WORD_PIECE, READER, max_error=GELU, beyond=6,
                       saved=pooled(pooling_mode_cls_token=False, pooling_mode_mean_tokens=True)),
    "bert-scores": Model(bert("BertConfig", num_labels=1), BF16, WORD_PIECE, SCORER, max_error=GELU),
    "bert-masked": Model(bert("BertConfig"), F32, WORD_PIECE, "AutoModelForMaskedLM", max_error=GELU, runs=False),
    "distilbert": Model(bert("DistilBertConfig", dim=64, hidden_dim=96, n_layers=3, n_heads=4), F32, WORD_PIECE, READER,
                        max_error=GELU),
    "xlm-roberta-cls": Model(bert("XLMRobertaConfig", type_vocab_size=1, pad_token_id=1, max_position_embeddings=130),
                             F16, XLM_ROBERTA, READER, max_error=GELU, saved=pooled(pooling_mode_cls_token=True)),
    "xlm-roberta-scores": Model(bert("XLMRobertaConfig", type_vocab_size=1, pad_token_id=1, num_labels=3,
                                     max_position_embeddings=130), F32, XLM_ROBERTA, SCORER, max_error=GELU),
    "nomic-bert": Model(bert("NomicBertConfig", max_position_embeddings=2048), F32, WORD_PIECE, READER, saved=nomic),
    "modern-bert": Model(modern(), F32, BYTE_LEVEL, READER, max_error=GELU, saved=pooled(pooling_mode_cls_token=True)),
    "modern-bert-scores": Model(modern(num_labels=1, classifier_pooling="mean", hidden_activation="silu"), BF16, BYTE_LEVEL,
                                SCORER, max_error=GELU),
    # Decoders that are read with.
    "qwen3-embedding": Model(config("Qwen3Config", head_dim=32, tie_word_embeddings=False), BF16, BYTE_LEVEL, READER,
                             saved=pooled(pooling_mode_lasttoken=True)),
    "qwen3-reranker-tied": reranker(tie_word_embeddings=True),
    "qwen3-reranker-untied": reranker(tie_word_embeddings=False),
    "roberta": Model(bert("RobertaConfig", type_vocab_size=1, pad_token_id=1), F32, BYTE_LEVEL, READER, max_error=GELU),
}
