//! Safetensors: the JSON header of one file, and the index of a sharded checkpoint.
//! Knows where tensors lie and how wide they are, also of files to be written; must not read or hold their data.
//!
//! Accepted is what the reference implementation accepts, except that more than [`MAX_DIMS`] dimensions and keys
//! that appear twice are refused. Memory stays within a small multiple of the JSON's length.

mod dtype;
mod error;
mod header;
mod index;
mod unique_map;
mod writer;

pub use dtype::Dtype;
pub use error::Error;
pub use header::{Header, TensorInfo};
pub use index::Index;
pub use writer::{TensorSpec, file_start};

/// Largest JSON header in bytes, the limit of the reference implementation.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Largest index in bytes.
pub const MAX_INDEX_BYTES: u64 = 100_000_000;
/// Most dimensions of a tensor that are believed.
pub const MAX_DIMS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn file(json: &str, data: usize) -> Vec<u8> {
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend(json.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    fn read(json: &str, data: usize) -> Result<Header, Error> {
        let bytes = file(json, data);
        Header::read(bytes.as_slice(), bytes.len() as u64)
    }

    #[test]
    fn a_good_header_is_read_in_order() {
        let json = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},
            "a":{"dtype":"F32","shape":[],"data_offsets":[12,16]}}"#;
        let header = read(json, 16).unwrap();
        assert_eq!(header.metadata["format"], "pt");
        assert_eq!(header.tensors[0].name, "b");
        assert_eq!(header.tensors[1].range.end - header.tensors[0].range.start, 16);
    }

    #[test]
    fn bad_headers_name_the_tensor() {
        let tensor = |name: &str, dtype: &str, shape: &str, offsets: &str| {
            format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
        };
        let a = tensor("a", "F32", "[1]", "[0,4]");
        let twice = tensor("a", "F32", "[1]", "[4,8]");
        let over = tensor("b", "F32", "[1]", "[2,6]");
        let gap = tensor("b", "U8", "[8]", "[8,16]");
        let huge = format!("[{},{}]", 1u64 << 60, 1u64 << 60);
        for (entries, word) in [
            (tensor("a", "F99", "[1]", "[0,4]"), "tensor `a`: dtype: expected a known type, got F99"),
            (tensor("a", "F32", "[1]", "[0,400]"), "inside 16"),
            (tensor("a", "F32", "[1]", "[4,0]"), "inside 16"),
            (tensor("a", "F32", &huge, "[0,4]"), "2^61"),
            (tensor("a", "F4", "[3]", "[0,2]"), "whole bytes"),
            (tensor("a", "F32", "[2]", "[0,4]"), "8 bytes for F32 [2], got 4"),
            (tensor("a", "F32", "[-1]", "[0,4]"), "invalid value"),
            (tensor("a", "U8", "[1,1,1,1,1,1,1,1,16]", "[0,16]"), "at most 8 dimensions"),
            (format!("{a},{over}"), "behind `a`"),
            (format!("{a},{gap}"), "expected tensor `b`, got 4 bytes"),
            (a.clone(), "expected the end of the file, got 12 bytes"),
            (format!("{a},{twice}"), "`a` appears twice"),
            (r#""__metadata__":{"k":"1","k":"2"}"#.into(), "`k` appears twice"),
            (r#""a":{"dtype":"F32","dtype":"F32"}"#.into(), "duplicate field"),
            (r#""a":{}"#.into(), "missing field"),
            (r#""__metadata__":{"k":1}"#.into(), "expected a string"),
        ] {
            let message = read(&format!("{{{entries}}}"), 16).unwrap_err().to_string();
            assert!(message.contains(word), "{entries}: {message}");
        }
        for json in ["[", "{}x", "null", "\u{1}"] {
            assert!(read(json, 0).is_err(), "{json}");
        }
    }

    #[test]
    fn lengths_are_held_against_the_file() {
        let message = |bytes: &[u8], file_bytes| Header::read(bytes, file_bytes).unwrap_err().to_string();
        assert!(message(&u64::MAX.to_le_bytes(), 8).contains("at most 0"));
        assert!(message(&u64::MAX.to_le_bytes(), u64::MAX).contains("at most 100000000"));
        assert!(message(&90_000_000u64.to_le_bytes(), u64::MAX).contains("ends at byte 8 inside header"));
        assert!(message(&[0; 3], 3).contains("header length"));
    }

    #[test]
    fn empty_tensors_and_an_empty_file_are_read() {
        assert_eq!(read("{}", 0).unwrap(), Header::default());
        let json = r#"{"e":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]},
            "a":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}}   "#;
        assert_eq!(read(json, 2).unwrap().tensors.len(), 2);
    }

    #[test]
    fn shards_must_be_plain_names() {
        let json = br#"{"weight_map":{"a":"model-1.safetensors"},"metadata":{"total_size":7,"x":[]},"y":{}}"#;
        assert_eq!(Index::parse(json).unwrap().total_size, Some(7));
        assert_eq!(
            Index::parse(br#"{"weight_map":{},"metadata":{"total_size":7e9}}"#).unwrap().total_size,
            Some(7_000_000_000)
        );
        for file in ["../x", "/etc/passwd", "a/b", "a\\b", "..", ".hidden", "", "c:x", "a\nb", "a\0"] {
            let json = serde_json::json!({"weight_map": {"a": file}}).to_string();
            let message = Index::parse(json.as_bytes()).unwrap_err().to_string();
            assert!(message.contains("tensor `a`: file: expected a plain file name"), "{message}");
        }
        for json in [r#"{"weight_map":{"a":"x","a":"y"}}"#, "{}", r#"{"weight_map":1}"#, "[]", ""] {
            assert!(Index::parse(json.as_bytes()).is_err(), "{json}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_answered_without_panic(bytes in proptest::collection::vec(0u8.., 0..200), length in 0u64..100) {
            let mut file = length.to_le_bytes().to_vec();
            file.extend(&bytes);
            let _ = Header::read(file.as_slice(), file.len() as u64);
            let _ = Index::parse(&bytes);
        }
    }
}
