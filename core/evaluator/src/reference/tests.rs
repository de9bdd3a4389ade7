//! The store's bytes, and what the draw is worth.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use proptest::prelude::*;

fn header(n_vocab: usize) -> Header {
    Header {
        format: 1,
        reference: "F16".into(),
        identity: String::new(),
        n_vocab,
        keep: Keep { n_top: 8, n_tail: 4, ..Keep::default() },
        passes: vec![PassHeader { text: "t".into(), n_ctx: 6, n_windows: 1 }],
        routers: Vec::new(),
    }
}

fn row(n_vocab: usize, seed: u64) -> Vec<f32> {
    let mut seeded = Seeded::of(&[seed]);
    (0..n_vocab).map(|_| (seeded.unit() * 12.0 - 6.0) as f32).collect()
}

fn stored(header: &Header) -> (Vec<u8>, Vec<Record>) {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, header).unwrap();
    writer.tokens(&[0, 1, 2, 3, 4, 5]).unwrap();
    let mut seeded = Seeded::of(&[3]);
    let record = |i| Record::of(&row(header.n_vocab, i), 3, header.keep, &mut seeded).unwrap();
    let records: Vec<Record> = (0..2).map(record).collect();
    records.iter().for_each(|record| writer.record(record).unwrap());
    writer.finish().unwrap();
    (bytes, records)
}

#[test]
fn a_store_reads_back_within_its_rounding() {
    for n_vocab in [6, 300, 70_000] {
        let header = header(n_vocab);
        let (bytes, records) = stored(&header);
        let mut reader = Reader::open(bytes.as_slice()).unwrap();
        let start = bytes.len() as u64 - header.body_bytes();
        assert_eq!(start, 12 + serde_json::to_vec(&header).unwrap().len() as u64);
        let window = reader.window().unwrap().unwrap();
        assert_eq!((window.tokens.as_slice(), window.records.len()), (&[0, 1, 2, 3, 4, 5][..], 2));
        for (read, written) in window.records.iter().zip(&records) {
            assert_eq!((read.target, read.tail_mass), (written.target, written.tail_mass));
            assert_eq!(read.top.len(), 8.min(n_vocab));
            let pairs = read.top.iter().chain(&read.tail).zip(written.top.iter().chain(&written.tail));
            for ((id, lp), (expected_id, expected)) in pairs {
                assert_eq!(id, expected_id);
                assert!((lp - expected).abs() < 2e-4, "{lp} for {expected}");
            }
        }
        assert_eq!(reader.window().unwrap(), None);
    }
}

#[test]
fn damage_is_named() {
    let (bytes, _) = stored(&header(300));
    let error = |bytes: &[u8]| match Reader::open(bytes) {
        Ok(mut reader) => reader.window().unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    assert_eq!(error(b"GGUF and more"), "reference logits: magic: expected LPREFLOG, got GGUF and");
    assert_eq!(
        error(&bytes[..bytes.len() - 1]),
        "reference logits: records: expected more bytes, got the end"
    );
    let mut wrong = bytes.clone();
    let at = bytes.len() - header(300).body_bytes() as usize;
    wrong[at..at + 4].copy_from_slice(&300i32.to_le_bytes());
    assert_eq!(error(&wrong), "reference logits: tokens: expected 0 .. 300, got 300");
}

#[test]
fn the_draw_follows_the_probabilities() {
    // One token has half of the tail's mass and the other nine share the rest.
    let probabilities: Vec<f32> = std::iter::once(0.5).chain(std::iter::repeat_n(0.5 / 9.0, 9)).collect();
    let of = |id: u32| probabilities[id as usize].ln();
    let mut counts = [0usize; 10];
    for seed in 0..2000 {
        let mut ids: Vec<u32> = (0..10).rev().collect();
        let (mass, drawn) = record::draw(&mut ids, &of, 4, &mut Seeded::of(&[seed]));
        assert!((mass - 1.0).abs() < 1e-6 && drawn.len() == 4);
        drawn.iter().for_each(|(id, _)| counts[*id as usize] += 1);
    }
    assert_eq!(counts[0], 4000, "two of the four teeth");
    for count in &counts[1..] {
        assert!((*count as f64 / 8000.0 - 0.5 / 9.0).abs() < 0.01, "{counts:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 0usize..3000) {
        let (mut store, _) = stored(&header(300));
        let at = cut % store.len();
        store.truncate(at);
        store.extend(&bytes);
        for bytes in [&bytes, &store] {
            if let Ok(mut reader) = Reader::open(bytes.as_slice()) {
                while let Ok(Some(_)) = reader.window() {}
            }
        }
    }
}

#[test]
fn experts_are_kept_behind_their_windows() {
    let router = |layer, n_used| Router { layer, n_experts: 300, n_used };
    let header = Header { format: 2, routers: vec![router(0, 2), router(2, 1)], ..header(6) };
    let (mut bytes, _) = stored(&header);
    let choices: Choices = vec![vec![299, 0, 1, 256], vec![7, 8]];
    let mut written = Vec::new();
    let mut writer = Writer { out: &mut written, layout: Layout::of(&header), buffer: Vec::new() };
    writer.choices(&header, 6, &choices).unwrap();
    let error = writer.choices(&header, 6, &vec![vec![1]]).unwrap_err().to_string();
    assert_eq!(error, "reference logits: experts: expected 12 bytes of a window, got 2");
    bytes.extend(&written);
    let head = 12 + serde_json::to_vec(&header).unwrap().len() as u64;
    assert_eq!(bytes.len() as u64, head + header.body_bytes());
    let mut reader = Reader::open(bytes.as_slice()).unwrap();
    assert_eq!(reader.window().unwrap().unwrap().experts, choices);
    let last = bytes.len() - 1;
    bytes[last] = 2;
    let error = Reader::open(bytes.as_slice()).unwrap().window().unwrap_err().to_string();
    assert_eq!(error, "reference logits: experts: expected 0 .. 300, got 520");
    assert!(Header { format: 1, ..header.clone() }.check().is_err());
    assert!(Header { routers: vec![router(0, 0)], ..header }.check().is_err());
}
