//! What a store has said of losses, taken out of its log.

use skein::store::Seq;

/// Lines of a log, understood.
#[derive(Debug, Default)]
pub struct Report {
    /// File, and from where to where something is lost.
    pub damages: Vec<(String, usize, usize)>,
    /// Segments that are gone as a whole: their bytes.
    pub missing: Vec<usize>,
    /// Key, and sequences that may be lost.
    pub ranges: Vec<(String, Seq, Seq)>,
    /// Messages that were found to be damaged when they were read.
    pub damaged: Vec<(String, Seq)>,
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    let (found, _) = rest.split_once(after)?;
    Some(found)
}

impl Report {
    pub fn of<'a>(lines: impl IntoIterator<Item = &'a String>) -> Self {
        let mut this = Self::default();
        for line in lines {
            let known = this.damage(line).is_some()
                || this.missing(line).is_some()
                || this.range(line).is_some()
                || this.message(line).is_some();
            let is_known = known
                || line.contains("checkpoint")
                || line.contains("opened in spite of damage")
                || line.contains("the disk is full")
                || line.contains("whose name is lost")
                || line.contains("no list of segments")
                || line.contains("it is kept as it is")
                || line.contains("its bytes may survive")
                || line.starts_with("store: and ");
            assert!(is_known, "{line:?} is not understood");
        }
        this
    }

    fn damage(&mut self, line: &str) -> Option<()> {
        let name = line.strip_prefix("store: ")?.split(' ').next()?;
        let from = between(line, " from offset ", " to ")?.parse().ok()?;
        let (_, rest) = line.split_once(" from offset ")?;
        let to = between(rest, " to ", ":")?.parse().ok()?;
        self.damages.push((name.to_owned(), from, to));
        Some(())
    }

    fn missing(&mut self, line: &str) -> Option<()> {
        let bytes = between(line, " with ", " bytes is missing")?;
        self.missing.push(bytes.parse().ok()?);
        Some(())
    }

    fn range(&mut self, line: &str) -> Option<()> {
        let key = between(line, "store: of ", ", messages ")?;
        let range = between(line, ", messages ", " are not there")?;
        let (first, last) = range.split_once(" to ")?;
        let range = (first.parse().ok()?, last.parse().ok()?);
        self.ranges.push((key.to_owned(), range.0, range.1));
        Some(())
    }

    fn message(&mut self, line: &str) -> Option<()> {
        let seq = between(line, "store: message ", " of ")?.parse().ok()?;
        let key = between(line, " of ", " is damaged")?;
        self.damaged.push((key.to_owned(), seq));
        Some(())
    }

    /// Whether anything is said to be lost but messages that were read.
    pub fn is_of_loss(&self) -> bool {
        !self.damages.is_empty() || !self.missing.is_empty()
    }

    /// How much is said to be lost.
    pub fn bytes(&self) -> usize {
        let damages = self.damages.iter().map(|(_, from, to)| to - from);
        damages.chain(self.missing.iter().copied()).sum()
    }

    /// Whether a message is said to be lost, perhaps.
    pub fn covers(&self, key: &[u8], seq: Seq) -> bool {
        let mut ranges = self.ranges.iter();
        ranges.any(|(of, first, last)| of.as_bytes() == key && (*first..=*last).contains(&seq))
    }
}
