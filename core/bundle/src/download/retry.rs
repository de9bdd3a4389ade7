//! When to try again: exponential backoff with jitter, and what `Retry-After` says.
//!
//! Owns the arithmetic. Must not sleep.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Options;
use crate::transport::Headers;

/// Wait before the next try after `failures` failures in a row (1 or more): doubles from the base to the limit, and is
/// shortened by up to half at random so that clients do not come back together.
pub(super) fn backoff(options: &Options, failures: u32) -> Duration {
    let doubled = options.backoff_base.saturating_mul(1u32 << (failures.saturating_sub(1)).min(16));
    doubled.min(options.backoff_limit).mul_f64(rand::random_range(0.5..=1.0))
}

/// The wait that `Retry-After` asks for, as seconds or as a date.
pub(super) fn retry_after(headers: &Headers, now: SystemTime) -> Option<Duration> {
    let value = headers.get("Retry-After")?.trim();
    if let Ok(seconds) = value.parse::<u32>() {
        return Some(Duration::from_secs(u64::from(seconds)));
    }
    let at = UNIX_EPOCH + Duration::from_secs(parse_date(value)?);
    Some(at.duration_since(now).unwrap_or_default())
}

/// Seconds since 1970 of a date such as `Sun, 06 Nov 1994 08:49:37 GMT`.
fn parse_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, date) = text.split_once(", ")?;
    let parts: Vec<&str> = date.split_ascii_whitespace().collect();
    let &[day, month, year, time, "GMT"] = parts.as_slice() else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let (day, year) = (day.parse::<u64>().ok()?, year.parse::<u64>().ok()?);
    let clock: Vec<u64> = time.split(':').map(|n| n.parse().ok()).collect::<Option<_>>()?;
    let &[hour, minute, second] = clock.as_slice() else { return None };
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days from the civil calendar, with the year starting in March so that the leap day is its last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;
    // 1970-01-01 in the same count.
    let days = days.checked_sub(719_468)?;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (text, expected) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Thu, 29 Feb 2024 23:59:59 GMT", Some(1_709_251_199)),
            ("Sun, 06 Nov 1994 08:49:37 UTC", None),
            ("Sun, 99 Nov 1994 08:49:37 GMT", None),
            ("nonsense", None),
        ] {
            assert_eq!(parse_date(text), expected, "{text}");
        }
    }

    #[test]
    fn retry_after_in_both_forms() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
        for (value, expected) in [
            ("7", Some(7)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
        ] {
            let headers = Headers::from_iter([("retry-after", value)]);
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn backoff_doubles_to_its_limit() {
        let options = Options { backoff_base: Duration::from_secs(1), ..Options::default() };
        for (failures, ceiling) in [(1, 1.0), (2, 2.0), (4, 8.0), (30, 30.0), (u32::MAX, 30.0)] {
            let wait = backoff(&options, failures).as_secs_f64();
            assert!((ceiling / 2.0..=ceiling).contains(&wait), "{failures}: {wait}");
        }
    }
}
