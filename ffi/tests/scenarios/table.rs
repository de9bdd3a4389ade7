//! The table of scenarios as lines.
//!
//! Owns: its columns. Must not know: what the steps mean.

/// A step of a scenario.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) scenario: String,
    pub(crate) step: String,
    pub(crate) arguments: Vec<(String, String)>,
    /// How the outcome has to begin.
    pub(crate) expected: String,
}

/// Every line that is no comment.
pub(crate) fn parse(text: &str) -> Vec<Line> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(Line::parse).collect()
}

impl Line {
    fn parse(text: &str) -> Self {
        let mut cells = text.split('\t').map(str::to_owned);
        let (scenario, step) = (cells.next().expect("a scenario"), cells.next().expect("a step"));
        let (expected, arguments): (Vec<_>, Vec<_>) = cells.partition(|cell| cell.starts_with("=> "));
        let arguments = arguments.iter().map(|cell| {
            let (name, value) = cell.split_once('=').unwrap_or_else(|| panic!("{text}: no value in {cell}"));
            (name.to_owned(), value.replace("\\n", "\n"))
        });
        let [expected] = &expected[..] else { panic!("{text}: expected one outcome") };
        Self { scenario, step, arguments: arguments.collect(), expected: expected[3..].to_owned() }
    }

    /// Every value of that name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.arguments.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.arguments.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The prompt, as often as `times` says.
    pub(crate) fn prompt(&self) -> Option<String> {
        self.text("prompt").map(|prompt| prompt.repeat(self.number("times", 1.0) as usize))
    }

    pub(crate) fn number(&self, name: &str, missing: f64) -> f64 {
        self.text(name).map_or(missing, |text| text.parse().expect("a number"))
    }
}
