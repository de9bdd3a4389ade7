//! Dates as templates ask for them.
//!
//! Owns the calendar and the directives of `strftime` that templates use, in UTC. Must not know what time it is.

use minijinja::{Error, ErrorKind};
use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// `time` in the form that `format` describes.
pub(super) fn format(time: SystemTime, format: &str) -> Result<String, Error> {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (name, weekday) = (MONTHS[month as usize - 1], DAYS[((days + 3) % 7) as usize]);
    let mut text = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        let unpadded = characters.as_str().starts_with('-');
        if unpadded {
            characters.next();
        }
        let two = |n: u64| if unpadded { n.to_string() } else { format!("{n:02}") };
        let directive = characters.next().unwrap_or('%');
        text.push_str(&match directive {
            'Y' => year.to_string(),
            'y' => two(year % 100),
            'm' => two(month),
            'd' => two(day),
            'B' => name.to_owned(),
            'b' => name[..3].to_owned(),
            'A' => weekday.to_owned(),
            'a' => weekday[..3].to_owned(),
            'H' => two(second / 3600),
            'I' => two((second / 3600 + 11) % 12 + 1),
            'M' => two(second / 60 % 60),
            'S' => two(second % 60),
            'p' => if second < 43_200 { "AM" } else { "PM" }.to_owned(),
            'F' => format!("{year}-{month:02}-{day:02}"),
            'T' => format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60),
            'Z' => "UTC".to_owned(),
            'z' => "+0000".to_owned(),
            '%' => "%".to_owned(),
            other => {
                let problem =
                    format!("expected one of YymdBbAaHIMSpFTZz after % in a date's format, got {other}");
                return Err(Error::new(ErrorKind::InvalidOperation, problem));
            }
        });
    }
    Ok(text)
}

/// Year, month and day that many days after 1970-01-01 (Hinnant 2013, `civil_from_days`).
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_are_pythons() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(
            format(at(1_709_210_096), "%A, %d %b %Y %H:%M:%S").unwrap(),
            "Thursday, 29 Feb 2024 12:34:56"
        );
        assert_eq!(
            format(at(0), "%Y-%m-%d, %-d %B %y, %I %p, 100%%").unwrap(),
            "1970-01-01, 1 January 70, 12 AM, 100%"
        );
        assert_eq!(format(at(4_102_444_799), "%F %T").unwrap(), "2099-12-31 23:59:59");
        assert!(format(at(0), "%Q").unwrap_err().to_string().contains("got Q"));
    }
}
