//! A host as one text: the files that detection reads, written compactly.
//! Owns the form; must not know what the files mean.
//!
//! ```text
//! # anything, up to the first entry
//! = sys/devices/system/cpu/cpu{0-7}/topology/core_id {/2}     one line, for eight files
//! ! sys/class/thermal/thermal_zone0/temp permission denied    a file that cannot be read, and why
//! = proc/self/auxv hex:0600…                                  bytes
//! == proc/cpuinfo                                             a block, up to the next entry
//! %each 0-7
//! processor : {}
//! %end
//! ```
//! Within what a range repeats, `{}` is its number, and `{+N}`, `{-N}`, `{/N}`, `{%N}` are computed from it.

mod runs;

use crate::root::Entry;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Files and repetitions of one text: far more than any machine needs, far less than hurts.
const MAX_FILES: usize = 65_536;
const MAX_TEXT_BYTES: usize = 4 << 20;

/// Reads the form.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, Entry>, String> {
    let mut files = BTreeMap::new();
    let mut written = 0;
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let fail = |what: &str| format!("line {}: {what}: {line}", index + 1);
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let (mark, rest) = line.split_once(' ').ok_or_else(|| fail("expected an entry"))?;
        let (pattern, value) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
        let numbers = range_of(pattern).map_err(|what| fail(&what))?;
        let block = if mark == "==" { block(&mut lines).map_err(|what| fail(&what))? } else { String::new() };
        for number in numbers {
            let (path, content) = match number {
                None => (pattern.to_string(), value.to_string()),
                Some(number) => (expand_path(pattern, number), substitute(value, number)),
            };
            let entry = match mark {
                "=" => Ok(bytes_of(&content).ok_or_else(|| fail("not hexadecimal"))?),
                "==" => Ok(number.map_or_else(|| block.clone(), |n| substitute(&block, n)).into_bytes()),
                "!" => Err(content),
                _ => return Err(fail("expected `=`, `==` or `!`")),
            };
            written += entry.as_ref().map_or_else(String::len, Vec::len);
            if files.len() >= MAX_FILES || written > MAX_TEXT_BYTES {
                return Err(fail("more than a host has"));
            }
            files.insert(path, entry);
        }
    }
    Ok(files)
}

/// The lines up to the next entry, repetitions written out.
fn block<'a>(
    lines: &mut std::iter::Peekable<impl Iterator<Item = (usize, &'a str)>>,
) -> Result<String, String> {
    let mut text = String::new();
    let mut repeated: Option<(Vec<u32>, String)> = None;
    let is_entry = |line: &str| ["= ", "== ", "! "].iter().any(|mark| line.starts_with(mark));
    while let Some((_, line)) = lines.next_if(|(_, line)| !is_entry(line)) {
        if let Some(list) = line.strip_prefix("%each ") {
            repeated = Some((numbers(list)?, String::new()));
        } else if line == "%end" {
            let (numbers, body) = repeated.take().ok_or("%end without %each")?;
            for number in numbers {
                text.push_str(&substitute(&body, number));
                if text.len() > MAX_TEXT_BYTES {
                    return Err("more than a file of a host holds".into());
                }
            }
        } else {
            let target = repeated.as_mut().map_or(&mut text, |(_, body)| body);
            target.push_str(line);
            target.push('\n');
        }
    }
    if repeated.is_some() { Err("%each without %end".into()) } else { Ok(text) }
}

fn bytes_of(content: &str) -> Option<Vec<u8>> {
    let Some(hex) = content.strip_prefix("hex:") else { return Some(format!("{content}\n").into_bytes()) };
    let digit = |byte: u8| (byte as char).to_digit(16);
    let pair = |pair: &[u8; 2]| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok();
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if rest.is_empty() { pairs.iter().map(pair).collect() } else { None }
}

/// The numbers of a path's range, or one nothing.
fn range_of(pattern: &str) -> Result<Vec<Option<u32>>, String> {
    let Some((_, rest)) = pattern.split_once('{') else { return Ok(vec![None]) };
    let (list, _) = rest.split_once('}').ok_or("a range without its end")?;
    Ok(numbers(list)?.into_iter().map(Some).collect())
}

fn expand_path(pattern: &str, number: u32) -> String {
    let (before, rest) = pattern.split_once('{').unwrap_or((pattern, "}"));
    let (_, after) = rest.split_once('}').unwrap_or((rest, ""));
    format!("{before}{number}{after}")
}

/// `0-3,8` as numbers, in the order in which they stand.
fn numbers(list: &str) -> Result<Vec<u32>, String> {
    let mut numbers = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.parse::<u16>().map_err(|_| format!("{list} is no list of numbers"));
        numbers.extend((number(first)?..=number(last)?).map(u32::from));
        if numbers.len() > MAX_FILES {
            return Err(format!("{list} names too many"));
        }
    }
    Ok(numbers)
}

fn substitute(text: &str, number: u32) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let computed =
            after.split_once('}').and_then(|(inside, tail)| Some((compute(inside, number)?, tail)));
        out.push_str(before);
        match computed {
            Some((value, tail)) => {
                let _ = write!(out, "{value}");
                rest = tail;
            }
            None => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn compute(inside: &str, number: u32) -> Option<u32> {
    let Some(operator) = inside.chars().next() else { return Some(number) };
    let operand: u32 = inside[operator.len_utf8()..].parse().ok()?;
    match operator {
        '+' => number.checked_add(operand),
        '-' => number.checked_sub(operand),
        '/' => number.checked_div(operand),
        '%' => number.checked_rem(operand),
        _ => None,
    }
}

/// Writes the form.
pub(crate) fn write(files: &BTreeMap<String, Entry>) -> String {
    let mut lines = Vec::new();
    let mut blocks = String::new();
    for (path, entry) in files {
        match entry {
            Err(reason) if reason.starts_with("no such file") || reason == "not a directory" => {}
            Err(reason) => lines.push(("!", path.as_str(), reason.clone())),
            Ok(bytes) => match std::str::from_utf8(bytes) {
                Ok(line) if is_line(line) => lines.push(("=", path, line.trim_end().to_string())),
                Ok(block) if is_block(block) => {
                    let end = if block.is_empty() || block.ends_with('\n') { "" } else { "\n" };
                    let _ = write!(blocks, "== {path}\n{block}{end}");
                }
                _ => {
                    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                    lines.push(("=", path, format!("hex:{hex}")));
                }
            },
        }
    }
    runs::joined(&lines) + &blocks
}

fn is_line(text: &str) -> bool {
    let line = text.strip_suffix('\n').unwrap_or(text);
    !line.is_empty()
        && line == line.trim()
        && !line.contains(['\n', '\0', '{', '\r'])
        && !line.starts_with("hex:")
}

fn is_block(text: &str) -> bool {
    let plain = |line: &str| !["= ", "== ", "! ", "%"].iter().any(|mark| line.starts_with(mark));
    !text.contains(['\0', '\r']) && text.lines().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(files: &BTreeMap<String, Entry>, path: &str) -> String {
        String::from_utf8(files[path].clone().expect("readable")).expect("text")
    }

    #[test]
    fn ranges_and_repetitions_are_written_out() {
        let files = parse(
            "# a host\n= a/cpu{0-2,8}/id {/2}\n== b\n%each 1-2\nprocessor : {}\n\n%end\nlast {x}\n! c permission denied\n= d hex:06ff\n",
        )
        .expect("well formed");
        assert_eq!(text(&files, "a/cpu2/id"), "1\n");
        assert_eq!(text(&files, "a/cpu8/id"), "4\n");
        assert_eq!(text(&files, "b"), "processor : 1\n\nprocessor : 2\n\nlast {x}\n");
        assert_eq!(files["c"], Err("permission denied".into()));
        assert_eq!(files["d"], Ok(vec![6, 255]));
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let mut files = BTreeMap::new();
        files.insert("a/b".to_string(), Ok(b"one line\n".to_vec()));
        files.insert("c".to_string(), Ok(b"two\nlines {}\n".to_vec()));
        files.insert("d".to_string(), Ok(vec![0, 255]));
        files.insert("e".to_string(), Ok(Vec::new()));
        files.insert("f".to_string(), Err("permission denied".into()));
        for cpu in 0..16u32 {
            for (name, value) in
                [("same", 7), ("half", cpu / 2), ("twice", cpu % 8), ("own", cpu), ("odd", cpu * cpu)]
            {
                files.insert(format!("s/cpu{cpu}/{name}"), Ok(format!("{value}\n").into_bytes()));
            }
        }
        let written = write(&files);
        assert_eq!(parse(&written).expect("written by us"), files);
        for line in [
            "= s/cpu{0-15}/same 7",
            "= s/cpu{0-15}/half {/2}",
            "= s/cpu{0-15}/twice {%8}",
            "= s/cpu{0-15}/own {}",
        ] {
            assert!(written.contains(line), "{line} in {written}");
        }
    }

    #[test]
    fn malformed_texts_are_refused_by_line() {
        for (text, place) in [
            ("nonsense", "line 1"),
            ("= a{0-99999} 1", "line 1"),
            ("\n== a\n%end\n", "line 2"),
            ("== a\n%each 0-1\nx\n", "line 1"),
            ("= a hex:0", "line 1"),
            ("= a{0 1", "line 1"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.starts_with(place), "{error}");
        }
    }
}
