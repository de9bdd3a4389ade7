"""Tokenizers of kinds that no folder at hand has, made from vocabularies that are."""

import json
import pathlib
import tempfile

from .checkpoint import TOKENIZERS

FOLDER = tempfile.TemporaryDirectory()
# Pieces of T5's vocabulary that XLM-RoBERTa's takes over.
N_PIECES = 4000


def folder(name, tokenizer, settings):
    path = pathlib.Path(FOLDER.name) / name
    path.mkdir()
    (path / "tokenizer.json").write_text(json.dumps(tokenizer))
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    return path


def special(texts, vocabulary):
    flags = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    return [dict(id=vocabulary.index(text), content=text, **flags) for text in texts]


def template(first, last, between, vocabulary):
    token = lambda text: dict(SpecialToken=dict(id=text, type_id=0))  # noqa: E731
    text = lambda name: dict(Sequence=dict(id=name, type_id=0))  # noqa: E731
    used = {text: dict(id=text, ids=[vocabulary.index(text)], tokens=[text]) for text in (first, last)}
    pair = [token(first), text("A"), *map(token, between), text("B"), token(last)]
    return dict(type="TemplateProcessing", single=[token(first), text("A"), token(last)], pair=pair, special_tokens=used)


def word_piece():
    """BERT's vocabulary in lower case, out of a file that holds it alone."""
    from gguf import GGUFReader

    field = GGUFReader(TOKENIZERS / "vectors/ggml-vocab-bert-bge.gguf").get_field("tokenizer.ggml.tokens")
    texts = [bytes(field.parts[at]).decode() for at in field.data]
    marked = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    spell = lambda text: text[1:] if text[0] == "\u2581" else text if text in marked else "##" + text  # noqa: E731
    vocabulary = [spell(text) for text in texts]
    normalizer = dict(type="BertNormalizer", clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True)
    model = dict(type="WordPiece", unk_token="[UNK]", continuing_subword_prefix="##", max_input_chars_per_word=100,
                 vocab={text: id for id, text in enumerate(vocabulary)})
    tokenizer = dict(version="1.0", truncation=None, padding=None, added_tokens=special(marked, vocabulary),
                     normalizer=normalizer, pre_tokenizer=dict(type="BertPreTokenizer"),
                     post_processor=template("[CLS]", "[SEP]", ["[SEP]"], vocabulary),
                     decoder=dict(type="WordPiece", prefix="##", cleanup=True), model=model)
    settings = dict(tokenizer_class="BertTokenizer", do_lower_case=True, unk_token="[UNK]", sep_token="[SEP]",
                    pad_token="[PAD]", cls_token="[CLS]", mask_token="[MASK]")
    return folder("word-piece", tokenizer, settings)


def unigram_between():
    """T5's pieces in the manner of XLM-RoBERTa."""
    source = json.loads((TOKENIZERS / "t5/tokenizer.json").read_text())
    pieces = [[text, 0.0] for text in ("<s>", "<pad>", "</s>", "<unk>")]
    pieces += source["model"]["vocab"][3:N_PIECES] + [["<mask>", 0.0]]
    vocabulary = [text for text, _ in pieces]
    marked = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    metaspace = dict(type="Metaspace", replacement="\u2581", prepend_scheme="always", split=True)
    tokenizer = dict(source, added_tokens=special(marked, vocabulary), decoder=metaspace,
                     pre_tokenizer=dict(type="Sequence", pretokenizers=[dict(type="WhitespaceSplit"), metaspace]),
                     post_processor=template("<s>", "</s>", ["</s>", "</s>"], vocabulary),
                     model=dict(type="Unigram", unk_id=3, vocab=pieces, byte_fallback=False))
    settings = dict(tokenizer_class="XLMRobertaTokenizer", clean_up_tokenization_spaces=True, bos_token="<s>",
                    eos_token="</s>", sep_token="</s>", cls_token="<s>", unk_token="<unk>", pad_token="<pad>",
                    mask_token="<mask>")
    return folder("unigram-between", tokenizer, settings)


def sentencepiece():
    """T5's tokenizer with the SentencePiece model that it was made from, as far as tokenizer.json holds it."""
    import base64

    from sentencepiece import sentencepiece_model_pb2

    source = json.loads((TOKENIZERS / "t5/tokenizer.json").read_text())
    model = sentencepiece_model_pb2.ModelProto()
    added = {token["content"] for token in source["added_tokens"]}
    for at, (text, score) in enumerate(source["model"]["vocab"]):
        if text in added and at > 2:
            continue
        piece = model.pieces.add(piece=text, score=score)
        piece.type = 2 if text == "<unk>" else 3 if text in added else 1
    model.trainer_spec.model_type, model.trainer_spec.unk_id = 1, 2
    model.trainer_spec.pad_id, model.trainer_spec.eos_id, model.trainer_spec.bos_id = 0, 1, -1
    model.normalizer_spec.precompiled_charsmap = base64.b64decode(source["normalizer"]["precompiled_charsmap"])
    settings = dict(tokenizer_class="T5Tokenizer", eos_token="</s>", unk_token="<unk>", pad_token="<pad>")
    path = folder("t5", source, settings)
    (path / "spiece.model").write_bytes(model.SerializeToString())
    return path


def few_merges():
    """Llama 2's SentencePiece model with its first merges alone, for models with wide tables of tokens."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString((TOKENIZERS / "llama2/tokenizer.model").read_bytes())
    # Behind unknown, ends, bytes and merges stand the single characters.
    kept = [piece for at, piece in enumerate(model.pieces) if at < 2000 or at >= 29871]
    del model.pieces[:]
    model.pieces.extend(kept)
    path = pathlib.Path(FOLDER.name) / "few-merges"
    path.mkdir()
    (path / "tokenizer.model").write_bytes(model.SerializeToString())
    # How many tokens there are.
    (path / "config.json").write_text(json.dumps(dict(vocab_size=len(kept))))
    return path


if str(TOKENIZERS) != ".":
    WORD_PIECE, XLM_ROBERTA, T5, FEW_MERGES = word_piece(), unigram_between(), sentencepiece(), few_merges()
