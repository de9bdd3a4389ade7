//! Where staged files of a variant go when their paths are taken.
//!
//! Owns the choice of a free directory. Pure: it is told which paths are taken.

use crate::manifest::Variant;

/// Directory that all files of `variant` share; empty when they share none.
pub(super) fn common_directory(variant: &Variant) -> &str {
    let mut directories =
        variant.files.iter().map(|file| file.path.as_str().rsplit_once('/').map_or("", |(head, _)| head));
    let Some(mut common) = directories.next() else { return "" };
    for other in directories {
        while !(other == common || common.is_empty() || other.starts_with(&format!("{common}/"))) {
            common = common.rsplit_once('/').map_or("", |(head, _)| head);
        }
    }
    common
}

/// The path of a file when the variant's directory `common` becomes `common.number`.
pub(super) fn moved(variant: &Variant, common: &str, path: &str, number: u32) -> String {
    match path.strip_prefix(common).and_then(|rest| rest.strip_prefix('/')) {
        Some(rest) if !common.is_empty() => format!("{}.{number}/{rest}", stem(common)),
        _ => format!("{}.{number}/{path}", variant.id),
    }
}

/// The directory without a number that an earlier replacement added.
fn stem(common: &str) -> &str {
    match common.rsplit_once('.') {
        Some((head, number))
            if !head.is_empty()
                && !head.ends_with('/')
                && !number.is_empty()
                && number.bytes().all(|c| c.is_ascii_digit()) =>
        {
            head
        }
        _ => common,
    }
}
