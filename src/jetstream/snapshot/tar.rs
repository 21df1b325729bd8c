//! Tar archives, as far as snapshots are made of them: plain files, with headers of POSIX (`x`, `g`) or
//! GNU (`L`) for what does not fit.

/// A header and everything is in blocks of so many bytes.
pub const BLOCK_BYTES: usize = 512;
/// Longest header of the kinds that say something of the next one.
const EXTENSION_BYTES_MAX: u64 = 1 << 20;

/// What is at a place of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Member {
    /// A file of that name.
    File(String),
    /// Something about the next member, to be handed to [`Tar::extend`].
    Extension(u8),
    /// Nothing of interest.
    Ignored,
    /// The archive is over.
    End,
}

/// A member's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is of.
    pub member: Member,
    /// Bytes of the content.
    pub bytes: u64,
}

impl Header {
    /// Bytes of the content, filled up to whole blocks.
    pub fn padded_bytes(&self) -> u64 {
        self.bytes.next_multiple_of(BLOCK_BYTES as u64)
    }
}

/// What extensions have said about the next member.
#[derive(Clone, Debug, Default)]
pub struct Tar {
    name: Option<String>,
    bytes: Option<u64>,
}

impl Tar {
    /// Reads a header.
    pub fn header(&mut self, block: &[u8; BLOCK_BYTES]) -> Result<Header, &'static str> {
        if block.iter().all(|&byte| byte == 0) {
            return Ok(Header {
                member: Member::End,
                bytes: 0,
            });
        }
        const SUM: std::ops::Range<usize> = 148..156;
        let blank = |at: usize| SUM.contains(&at);
        let bytes = block.iter().enumerate();
        let sum: u64 = bytes
            .map(|(at, &byte)| u64::from(if blank(at) { b' ' } else { byte }))
            .sum();
        if number(&block[SUM]) != Some(sum) {
            return Err("tar header with a wrong checksum");
        }
        let bytes = number(&block[124..136]).ok_or("tar header without a size")?;
        let kind = block[156];
        if matches!(kind, b'x' | b'L') {
            return match bytes <= EXTENSION_BYTES_MAX {
                true => Ok(Header {
                    member: Member::Extension(kind),
                    bytes,
                }),
                false => Err("tar header too long"),
            };
        }
        let member = match kind {
            b'g' => Member::Ignored,
            b'0' | 0 => {
                let prefix = match block[257..].starts_with(b"ustar\0") {
                    true => text(&block[345..500]),
                    false => "",
                };
                let name = text(&block[..100]);
                let name = match prefix {
                    "" => name.to_owned(),
                    _ => format!("{prefix}/{name}"),
                };
                Member::File(self.name.take().unwrap_or(name))
            }
            _ => return Err("tar member that is no file"),
        };
        let bytes = self.bytes.take().unwrap_or(bytes);
        Ok(Header { member, bytes })
    }

    /// Takes in an extension's content.
    pub fn extend(&mut self, kind: u8, content: &[u8]) -> Result<(), &'static str> {
        if kind == b'L' {
            self.name = Some(text(content).to_owned());
            return Ok(());
        }
        // Each record: its own length in decimal, a blank, a key, `=`, a value and a line feed.
        let mut rest = content;
        while !rest.is_empty() {
            let bad = "tar header with a bad record";
            let digits = rest.iter().position(|&byte| byte == b' ').ok_or(bad)?;
            let length: usize = text(&rest[..digits]).parse().map_err(|_| bad)?;
            let (record, after) = rest.split_at_checked(length).ok_or(bad)?;
            let record = record
                .get(digits + 1..)
                .and_then(|record| record.strip_suffix(b"\n"));
            let record = record.ok_or(bad)?;
            let equals = record.iter().position(|&byte| byte == b'=').ok_or(bad)?;
            let value = text(&record[equals + 1..]);
            match &record[..equals] {
                b"path" => self.name = Some(value.to_owned()),
                b"size" => self.bytes = Some(value.parse().map_err(|_| bad)?),
                _ => {}
            }
            rest = after;
        }
        Ok(())
    }
}

/// Octal digits between blanks and zero bytes; or, with the highest bit set, a big-endian number.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_last_chunk::<8>()?;
        let is_small = high.iter().all(|&byte| byte & 0x7f == 0);
        return is_small
            .then(|| u64::from_be_bytes(*low))
            .filter(|low| low >> 62 == 0);
    }
    let end = field
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(field.len());
    let digits = std::str::from_utf8(&field[..end]).ok()?.trim();
    match digits {
        "" => Some(0),
        _ => u64::from_str_radix(digits, 8).ok(),
    }
}

/// Text up to a zero byte; nothing if it is none.
fn text(field: &[u8]) -> &str {
    let end = field
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(field.len());
    std::str::from_utf8(&field[..end]).unwrap_or_default()
}
