//! GGUF files that are cut, contradictory or of another kind.
//! Knows the bytes of the container; the good file is the repository's model as Q8_0.

use super::stage::{Door, Stage};
use super::{Case, case};
use std::fs;
use std::path::Path;

pub(super) const NORM: &str = "output_norm.weight";
pub(super) const DOWN: &str = "blk.0.ffn_down.weight";

pub(crate) fn cases() -> Vec<Case> {
    [containers(), tables()].into_iter().flatten().collect()
}

/// Looking at the file, running it, quantizing it.
fn all(stage: &Stage<'_>) -> Vec<Door> {
    let mut doors = vec![Door::command(&["info", &stage.text("model.gguf")])];
    doors.extend(using(stage));
    doors
}

/// Running the file and quantizing it.
fn using(stage: &Stage<'_>) -> Vec<Door> {
    let plan = Door::command(&["plan", &stage.text("model.gguf")]);
    vec![plan, stage.run("model.gguf", &[]), stage.quantize_from("model.gguf", &["--allow-requantize"])]
}

/// A row whose file's bytes are changed.
pub(super) fn bytes(
    name: &'static str,
    words: &'static [&'static str],
    change: impl Fn(&mut Vec<u8>) + Send + Sync + 'static,
) -> Case {
    case(name, words, move |stage| {
        spoil(&stage.gguf("model.gguf"), &change);
        all(stage)
    })
}

pub(super) fn spoil(path: &Path, change: &impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    let before = bytes.clone();
    change(&mut bytes);
    assert_ne!(before, bytes, "nothing to change");
    fs::write(path, bytes).unwrap();
}

fn containers() -> Vec<Case> {
    vec![
        bytes("gguf: empty", &["model.gguf", "ends at byte 0 inside magic"], |file| file.clear()),
        bytes("gguf: cut in the header", &["model.gguf", "tensor count", "at most 29", "got 46"], |file| {
            file.truncate(1000)
        }),
        bytes(
            "gguf: cut in the data",
            &["model.gguf", "`", "data ends at byte", "file has 3000000 bytes"],
            |file| file.truncate(3_000_000),
        ),
        bytes("gguf: wrong magic", &["model.gguf", "expected magic", "GGUF", "at byte 0"], |file| {
            file[..4].copy_from_slice(b"GGML")
        }),
        bytes("gguf: version 1", &["model.gguf", "version 2 or 3", "at byte 4", "got 0x1"], |file| {
            put(file, 4, &1u32.to_le_bytes())
        }),
        bytes("gguf: version 99", &["model.gguf", "version 2 or 3", "at byte 4", "got 0x63"], |file| {
            put(file, 4, &99u32.to_le_bytes())
        }),
        bytes("gguf: big-endian", &["model.gguf", "version 2 or 3", "big-endian"], |file| {
            put(file, 4, &3u32.to_be_bytes())
        }),
        bytes(
            "gguf: 2^64 - 1 tensors",
            &["model.gguf", "tensor count", "at byte 8", "18446744073709551615"],
            |file| put(file, 8, &[255; 8]),
        ),
        bytes(
            "gguf: 2^64 - 1 entries",
            &["model.gguf", "metadata count", "at byte 16", "18446744073709551615"],
            |file| put(file, 16, &[255; 8]),
        ),
    ]
}

fn tables() -> Vec<Case> {
    vec![
        bytes("gguf: one key twice", &["model.gguf", "`qwen3.block_count` appears twice"], |file| {
            rename(file, "general.file_type", "qwen3.block_count");
        }),
        bytes("gguf: alignment 0", &["model.gguf", "general.alignment", "power of two", "got 0"], |file| {
            alignment(file, 0)
        }),
        bytes("gguf: alignment 48", &["model.gguf", "general.alignment", "power of two", "got 48"], |file| {
            alignment(file, 48)
        }),
        bytes(
            "gguf: alignment 2^31",
            &["model.gguf", "general.alignment", "power of two", "got 2147483648"],
            |file| alignment(file, 1 << 31),
        ),
        bytes("gguf: a text of 2^63 bytes", &["model.gguf", "general.name", "9223372036854775808"], |file| {
            let at = after_string(file, "general.name") + 4;
            put(file, at, &(1u64 << 63).to_le_bytes());
        }),
        bytes("gguf: a text that is not UTF-8", &["model.gguf", "general.name", "UTF-8"], |file| {
            let at = after_string(file, "general.name") + 4 + 8;
            file[at] = 0xff;
        }),
        bytes(
            "gguf: a list of 2^63 texts",
            &["model.gguf", "tokenizer.ggml.tokens", "9223372036854775808"],
            |file| {
                let at = after_string(file, "tokenizer.ggml.tokens") + 4 + 4;
                put(file, at, &(1u64 << 63).to_le_bytes());
            },
        ),
        bytes(
            "gguf: lists of lists",
            &["model.gguf", "tokenizer.ggml.tokens", "no nested arrays", "got 9"],
            |file| {
                let at = after_string(file, "tokenizer.ggml.tokens") + 4;
                put(file, at, &9u32.to_le_bytes());
            },
        ),
        bytes("gguf: unknown value type", &["model.gguf", "general.name", "value type", "got 13"], |file| {
            let at = after_string(file, "general.name");
            put(file, at, &13u32.to_le_bytes());
        }),
        bytes("gguf: one tensor twice", &["model.gguf", "`blk.0.ffn_up.weight` appears twice"], |file| {
            rename(file, "blk.1.ffn_up.weight", "blk.0.ffn_up.weight");
        }),
        bytes(
            "gguf: unknown tensor type",
            &["model.gguf", "type of tensor `output_norm.weight`", "got", "99"],
            |file| {
                let at = after_string(file, NORM) + 4 + 8;
                put(file, at, &99u32.to_le_bytes());
            },
        ),
        bytes(
            "gguf: retired tensor type",
            &["model.gguf", "type of tensor `output_norm.weight`", "Q4_0_4_4"],
            |file| {
                let at = after_string(file, NORM) + 4 + 8;
                put(file, at, &31u32.to_le_bytes());
            },
        ),
        bytes(
            "gguf: rows that are no whole blocks",
            &["model.gguf", "`blk.0.ffn_down.weight`", "multiple of 32", "Q8_0", "got 767"],
            |file| {
                let at = after_string(file, DOWN) + 4;
                put(file, at, &767u64.to_le_bytes());
            },
        ),
        bytes("gguf: five dimensions", &["model.gguf", "`output_norm.weight`", "1 to 4", "got 5"], |file| {
            let at = after_string(file, NORM);
            put(file, at, &5u32.to_le_bytes());
        }),
        bytes(
            "gguf: 2^60 weights",
            &["model.gguf", "`output_norm.weight`", "ends at byte 4611686018"],
            |file| {
                let at = after_string(file, NORM) + 4;
                put(file, at, &(1u64 << 60).to_le_bytes());
            },
        ),
        bytes(
            "gguf: extents whose product overflows",
            &["model.gguf", "dimensions of tensor `blk.0.ffn_down.weight`", "2^63"],
            |file| {
                let at = after_string(file, DOWN) + 4;
                put(file, at, &[(1u64 << 40).to_le_bytes(), (1u64 << 40).to_le_bytes()].concat());
            },
        ),
        bytes(
            "gguf: tensor outside the file",
            &["model.gguf", "`output_norm.weight`", "ends at byte", "file has"],
            |file| {
                let at = after_string(file, NORM) + 4 + 8 + 4;
                put(file, at, &(1u64 << 40).to_le_bytes());
            },
        ),
        bytes(
            "gguf: tensor at the end of all bytes",
            &["model.gguf", "`output_norm.weight`", "inside the file", "18446744073709551584"],
            |file| {
                let at = after_string(file, NORM) + 4 + 8 + 4;
                put(file, at, &(u64::MAX - 31).to_le_bytes());
            },
        ),
        bytes(
            "gguf: tensors over each other",
            &["model.gguf", "data of tensor", "behind the tensor before it"],
            |file| {
                let at = after_string(file, DOWN) + 4 + 16 + 4;
                put(file, at, &0u64.to_le_bytes());
            },
        ),
        bytes(
            "gguf: a tensor that is not aligned",
            &["model.gguf", "`output_norm.weight`", "multiple of 32"],
            |file| {
                let at = after_string(file, NORM) + 4 + 8 + 4;
                let offset = u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
                put(file, at, &(offset + 4).to_le_bytes());
            },
        ),
    ]
}

pub(super) fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Where the bytes behind the only string `text` of the file's tables begin.
pub(super) fn after_string(file: &[u8], text: &str) -> usize {
    let mut wanted = (text.len() as u64).to_le_bytes().to_vec();
    wanted.extend(text.as_bytes());
    let places = file.windows(wanted.len()).enumerate().filter(|(_, window)| *window == wanted);
    let places: Vec<usize> = places.map(|(at, _)| at + wanted.len()).collect();
    assert_eq!(places.len(), 1, "`{text}` at {places:?}");
    places[0]
}

/// Gives a key or tensor another name of the same length: everything else stays where it is.
pub(super) fn rename(file: &mut [u8], from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let end = after_string(file, from);
    put(file, end - from.len(), to.as_bytes());
}

/// Turns a key of a 32-bit number into the alignment.
fn alignment(file: &mut [u8], value: u32) {
    let end = after_string(file, "qwen3.block_count");
    put(file, end + 4, &value.to_le_bytes());
    rename(file, "qwen3.block_count", "general.alignment");
}
