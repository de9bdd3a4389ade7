//! Reading takes memory for the bytes that are there, not for the counts that they claim.
//! One test in a process of its own: the allocator counts for all threads.

use formats::gguf::{Array, GgmlType, Header, Metadata, TensorSpec, Value, Writer};
use formats::{imatrix, safetensors, tokenizer_json};
use llama_pajamas_formats as formats;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// What reading may take at its peak: a step ahead, and so much for each byte that is there, since short texts become
/// entries of tables.
const STEP_BYTES: usize = 256 << 10;
const PER_BYTE: usize = 12;

/// Reads with `read` and holds its peak against what `n_bytes` allow.
fn measure<T>(what: &str, n_bytes: usize, read: impl FnOnce() -> T) -> T {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let result = read();
    let peak = ALLOCATOR.peak_usage().saturating_sub(before);
    let limit = STEP_BYTES + PER_BYTE * n_bytes;
    assert!(peak <= limit, "{what}: {n_bytes} bytes took {peak} bytes of memory, expected at most {limit}");
    result
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// GGUF files that end after a count, which claims `count`.
fn hostile_ggufs(count: u64) -> Vec<(String, Vec<u8>)> {
    let head = |tensors: u64, entries: u64| {
        [&b"GGUF\x03\0\0\0"[..], &tensors.to_le_bytes(), &entries.to_le_bytes()].concat()
    };
    let one_entry = |rest: &[&[u8]]| {
        [&[head(0, 1)], rest.iter().map(|r| r.to_vec()).collect::<Vec<_>>().as_slice()].concat().concat()
    };
    let count = count.to_le_bytes();
    let key = string("key");
    let mut files = vec![
        ("tensors".to_string(), head(u64::from_le_bytes(count), 0)),
        ("entries".to_string(), head(0, u64::from_le_bytes(count))),
        ("key".to_string(), one_entry(&[&count])),
        ("text".to_string(), one_entry(&[&key, &8u32.to_le_bytes(), &count])),
        ("name".to_string(), [&head(1, 0), &count[..]].concat()),
    ];
    for ty in (0u32..=12).filter(|ty| *ty != 9) {
        let list = one_entry(&[&key, &9u32.to_le_bytes(), &ty.to_le_bytes(), &count]);
        files.push((format!("list of type {ty}"), list));
    }
    files
}

/// A file with long tables: many keys, many short texts, many tensors.
fn long_gguf() -> Vec<u8> {
    let texts = Array::String((0..20_000).map(|at| format!("{}", at % 10)).collect());
    let mut metadata = Metadata::from_iter([("texts", Value::Array(texts))]);
    for at in 0..5_000 {
        metadata.insert(format!("k{at}"), Value::Bool(true));
    }
    let spec = |at: u32| TensorSpec { name: format!("{at}"), dims: vec![1], ty: GgmlType::F32 };
    let specs: Vec<TensorSpec> = (0..5_000).map(spec).collect();
    let mut writer = Writer::new(Vec::new(), &metadata, &specs).expect("good tables");
    specs.iter().for_each(|_| writer.write(&[0; 4]).expect("the data fits"));
    writer.finish().expect("all data came")
}

#[test]
fn memory_is_bounded_by_the_bytes_at_hand() {
    for power in [20, 28, 30, 32, 40, 60, 63] {
        for (what, file) in hostile_ggufs(1 << power) {
            let what = format!("{what}: 2^{power}");
            // Both a file of its true length and one that claims to be endless.
            for file_bytes in [file.len() as u64, u64::MAX] {
                let read = || Header::read(file.as_slice(), file_bytes).is_err();
                assert!(measure(&what, file.len(), read), "{what} was accepted");
            }
            assert!(measure(&what, file.len(), || imatrix::read(&file).is_err()), "{what} was accepted");
        }
        let length = (1u64 << power).to_le_bytes();
        for file_bytes in [8, u64::MAX] {
            let read = || safetensors::Header::read(&length[..], file_bytes).is_err();
            assert!(measure("safetensors header", 8, read), "2^{power} was accepted");
        }
        // The legacy form's counts are of 32 bits.
        let count = i32::try_from(1i64 << power).unwrap_or(i32::MAX).to_le_bytes();
        for legacy in [count.to_vec(), [&1i32.to_le_bytes(), &count[..]].concat()] {
            assert!(measure("legacy matrix", legacy.len(), || imatrix::read(&legacy).is_err()));
        }
    }
    let long = long_gguf();
    measure("long tables", long.len(), || Header::read(long.as_slice(), long.len() as u64))
        .expect("a good file");
    let lists = ["[", "{\"a\":"].map(|open| open.repeat(100_000));
    let zeros = format!("[{}0]", "0,".repeat(200_000));
    let tokens: Vec<String> = (0..50_000).map(|at| format!("\"{at:x}\":{at}")).collect();
    let vocabulary = format!(r#"{{"model":{{"type":"BPE","vocab":{{{}}},"merges":[]}}}}"#, tokens.join(","));
    for json in lists.iter().chain([&zeros, &vocabulary]) {
        let what = json.chars().take(20).collect::<String>();
        let _ = measure(&what, json.len(), || tokenizer_json::parse(json.as_bytes()));
        let _ = measure(&what, json.len(), || safetensors::Index::parse(json.as_bytes()));
        let file = [&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat();
        let _ = measure(&what, file.len(), || safetensors::Header::read(file.as_slice(), file.len() as u64));
    }
    measure("vocabulary", vocabulary.len(), || tokenizer_json::parse(vocabulary.as_bytes()))
        .expect("a good file");
}
