//! The NATS client protocol, as a server reads it (docs.nats.io, "Client Protocol").
//!
//! [`parse`] looks at the bytes received and returns one operation that borrows from them, or says
//! how many bytes it takes. Nothing is copied. Well-formed publishes with a control line within
//! one block of [`scan::BLOCK_BYTES`], which is nearly all there is, take the fast path: one mask
//! of delimiters, no branch per byte. Everything else goes through the line parser, which also
//! decides what is wrong with a line.
//!
//! The trick that saves most: after the subject, what a publish says is byte for byte what the
//! delivery must say after the subscription id (`[reply ]size\r\npayload\r\n`), so
//! [`Publish::rest`] is copied as one piece.

use crate::base::scan;

/// The digits of a size that nats-server reads; a longer number is an error.
const SIZE_DIGITS_MAX: usize = 9;
/// Blanks between a verb and its arguments. nats-server has no limit and does not keep them; here
/// they are kept until the line ends. They do not count as arguments.
const BLANKS_MAX: usize = 4096;

/// One operation of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// `PUB` or `HPUB`.
    Publish(Publish<'a>),
    /// `SUB subject [queue] sid`.
    Subscribe {
        /// What to match; not validated here.
        subject: &'a [u8],
        /// Queue group, empty when there is none.
        queue: &'a [u8],
        /// The client's name for the subscription.
        sid: &'a [u8],
    },
    /// `UNSUB sid [max]`.
    Unsubscribe {
        /// The client's name for the subscription.
        sid: &'a [u8],
        /// Deliveries after which it ends, counted from its start; 0 means now.
        max: u64,
    },
    /// `CONNECT {json}`.
    Connect(&'a [u8]),
    /// `PING`.
    Ping,
    /// `PONG`.
    Pong,
    /// `+OK`, which a client may send and which says nothing.
    Ok,
    /// `-ERR text`: the client complains.
    Err(&'a [u8]),
    /// `INFO {json}`, which only servers send.
    Info(&'a [u8]),
}

/// A message to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Not validated here.
    pub subject: &'a [u8],
    /// Empty when there is none.
    pub reply: &'a [u8],
    /// Length of the header block; `None` when there is none.
    pub header_len: Option<usize>,
    /// Header block and payload.
    pub body: &'a [u8],
    /// `[reply ][header size ]size\r\nbody\r\n` as a delivery repeats it, when the client wrote
    /// it in that form: one space between arguments, a header block that is not empty, CRLF.
    /// Sizes are repeated as they were spelled, leading zeros and all, as nats-server does.
    pub rest: Option<&'a [u8]>,
}

/// What [`parse`] made of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// An operation, and how many bytes it took.
    Op(Op<'a>, usize),
    /// The operation is not all there.
    More {
        /// Bytes of the whole operation, once its control line is known.
        total: Option<usize>,
    },
}

/// What a client did wrong; each closes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// No such operation, or bytes where the protocol has none.
    UnknownOperation,
    /// The arguments of a control line are longer than `max_control_line`.
    ControlLine,
    /// The message is longer than `max_payload`.
    Payload {
        /// What the client announced.
        size: usize,
    },
    /// `HPUB` where headers were not negotiated.
    HeadersNotSupported,
    /// The arguments cannot be read. The text names the operation, as nats-server's log does.
    Arguments(&'static str),
}

/// What bounds an operation.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Longest control line's arguments.
    pub control_line_bytes: usize,
    /// Longest message, headers and payload together.
    pub payload_bytes: usize,
    /// Whether headers were negotiated, without which `HPUB` is an error.
    pub headers: bool,
}

/// The first operation in `input`, which must not be empty.
#[inline(always)]
pub fn parse<'a>(input: &'a [u8], bounds: &Bounds) -> Result<Step<'a>, Violation> {
    if let Some(block) = input.first_chunk::<{ scan::BLOCK_BYTES }>()
        && let Some(step) = parse_publish(input, block, bounds)
    {
        return Ok(step);
    }
    parse_line(input, bounds)
}

/// The fast path: a well-formed and complete publish in canonical form, or `None`.
#[inline(always)]
fn parse_publish<'a>(
    input: &'a [u8],
    block: &[u8; scan::BLOCK_BYTES],
    bounds: &Bounds,
) -> Option<Step<'a>> {
    let verb = u32::from_le_bytes([block[0], block[1], block[2], block[3]]) & 0xdfdf_dfdf;
    const PUB: u32 = u32::from_le_bytes([b'P', b'U', b'B', 0]);
    const HPUB: u32 = u32::from_le_bytes(*b"HPUB");
    let (subject_at, headers) = if verb == PUB && block[3] == b' ' {
        (4, false)
    } else if verb == HPUB && block[4] == b' ' && bounds.headers {
        (5, true)
    } else {
        return None;
    };
    let mut mask = scan::delimiters(block) >> subject_at << subject_at;
    let mut next = || {
        let at = mask.trailing_zeros() as usize;
        mask &= mask.wrapping_sub(1);
        at
    };
    // The ends of up to four arguments; an end is 64 when the block has no further delimiter.
    let subject_end = next();
    let mut last_at = subject_end + 1;
    let mut end = next();
    if subject_end == subject_at || end >= scan::BLOCK_BYTES || block[subject_end] != b' ' {
        return None;
    }
    let (mut earlier_at, mut reply) = (0, &input[0..0]);
    if block[end] == b' ' {
        // A reply subject, or the header size.
        (earlier_at, last_at) = (last_at, end + 1);
        end = next();
        if end >= scan::BLOCK_BYTES {
            return None;
        }
        if headers && block[end] == b' ' {
            reply = &input[earlier_at..last_at - 1];
            (earlier_at, last_at) = (last_at, end + 1);
            end = next();
            if end >= scan::BLOCK_BYTES {
                return None;
            }
        } else if !headers {
            reply = &input[earlier_at..last_at - 1];
        }
        if reply.is_empty() && !headers {
            return None;
        }
    } else if headers {
        return None;
    }
    if end + 1 >= scan::BLOCK_BYTES || block[end] != b'\r' || block[end + 1] != b'\n' {
        return None;
    }
    let size = size(&block[last_at..end])?;
    let header_len = if headers {
        let len = self::size(&block[earlier_at..last_at - 1])?;
        if len > size || len == 0 || (reply.is_empty() && earlier_at != subject_end + 1) {
            return None;
        }
        Some(len)
    } else {
        None
    };
    let body_at = end + 2;
    let total = body_at + size + 2;
    if size > bounds.payload_bytes || end - subject_at > bounds.control_line_bytes {
        return None;
    }
    if input.len() < total {
        return Some(Step::More { total: Some(total) });
    }
    if input[total - 2..total] != *b"\r\n" {
        return None;
    }
    let publish = Publish {
        subject: &input[subject_at..subject_end],
        reply,
        header_len,
        body: &input[body_at..body_at + size],
        rest: Some(&input[subject_end + 1..total]),
    };
    Some(Step::Op(Op::Publish(publish), total))
}

/// A size as nats-server reads it: one to nine digits.
#[inline(always)]
fn size(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > SIZE_DIGITS_MAX {
        return None;
    }
    let mut size = 0usize;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        size = size * 10 + usize::from(digit);
    }
    Some(size)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Connect,
    Err,
    Hpub,
    Info,
    Ok,
    Ping,
    Pong,
    Pub,
    Sub,
    Unsub,
}

impl Verb {
    /// Whether the verb must be followed by white space. `PING`, `PONG` and `+OK` take anything up
    /// to the end of the line and ignore it; JSON may follow its verb at once.
    fn needs_blank(self) -> bool {
        matches!(
            self,
            Verb::Err | Verb::Hpub | Verb::Pub | Verb::Sub | Verb::Unsub
        )
    }
}

impl Verb {
    /// Whether its line may not be longer than the limit: the lines of the others say nothing.
    fn has_bounded_line(self) -> bool {
        !matches!(self, Verb::Ok | Verb::Ping | Verb::Pong)
    }
}

/// How much of an unfinished operation must be kept to go on with it: all of it, but of an
/// endless line that says nothing only its verb.
pub fn kept_len(input: &[u8], total: Option<usize>, bounds: &Bounds) -> usize {
    const VERB_BYTES: usize = 4;
    if total.is_none() && input.len() > 2 * bounds.control_line_bytes + VERB_BYTES {
        VERB_BYTES
    } else {
        input.len()
    }
}

const VERBS: [(&[u8], Verb); 10] = [
    (b"PUB", Verb::Pub),
    (b"HPUB", Verb::Hpub),
    (b"SUB", Verb::Sub),
    (b"UNSUB", Verb::Unsub),
    (b"PING", Verb::Ping),
    (b"PONG", Verb::Pong),
    (b"CONNECT", Verb::Connect),
    (b"INFO", Verb::Info),
    (b"+OK", Verb::Ok),
    (b"-ERR", Verb::Err),
];

/// The verb that `input` starts with; `None` when more bytes are needed to tell.
fn verb(input: &[u8]) -> Result<Option<(Verb, usize)>, Violation> {
    let mut unfinished = false;
    for (name, verb) in VERBS {
        let len = name.len().min(input.len());
        if !input[..len].eq_ignore_ascii_case(&name[..len]) {
            continue;
        }
        if len < name.len() {
            unfinished = true;
        } else {
            return Ok(Some((verb, len)));
        }
    }
    if unfinished {
        Ok(None)
    } else {
        Err(Violation::UnknownOperation)
    }
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The general path: any verb, any spelling, any mistake.
#[cold]
#[inline(never)]
fn parse_line<'a>(input: &'a [u8], bounds: &Bounds) -> Result<Step<'a>, Violation> {
    const MORE: Step<'static> = Step::More { total: None };
    let Some((verb, verb_len)) = verb(input)? else {
        return Ok(MORE);
    };
    let after = &input[verb_len..];
    if verb.needs_blank() && after.first().is_some_and(|b| !is_blank(b)) {
        return Err(Violation::UnknownOperation);
    }
    let blanks = after.iter().take_while(|b| is_blank(b)).count();
    let arguments = &after[blanks..];
    let bounded = verb.has_bounded_line();
    if bounded && blanks > BLANKS_MAX {
        return Err(Violation::ControlLine);
    }
    let Some(newline) = find_newline(arguments, bounded, bounds) else {
        let line = arguments.strip_suffix(b"\r").unwrap_or(arguments);
        return if bounded && line.len() > bounds.control_line_bytes {
            Err(Violation::ControlLine)
        } else {
            Ok(MORE)
        };
    };
    let used = verb_len + blanks + newline + 1;
    let line = &arguments[..newline];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if bounded && line.len() > bounds.control_line_bytes {
        return Err(Violation::ControlLine);
    }
    let op = match verb {
        Verb::Pub => return parse_message(input, line, used, false, bounds),
        Verb::Hpub => return parse_message(input, line, used, true, bounds),
        Verb::Sub => parse_subscribe(line)?,
        Verb::Unsub => parse_unsubscribe(line)?,
        Verb::Connect => Op::Connect(line),
        Verb::Info => Op::Info(line),
        Verb::Err => Op::Err(line),
        Verb::Ok => Op::Ok,
        Verb::Ping => Op::Ping,
        Verb::Pong => Op::Pong,
    };
    Ok(Step::Op(op, used))
}

/// Where the line ends, looking no further than its limit allows.
fn find_newline(arguments: &[u8], bounded: bool, bounds: &Bounds) -> Option<usize> {
    let limit = if bounded {
        bounds.control_line_bytes.saturating_add(2)
    } else {
        usize::MAX
    };
    memchr::memchr(b'\n', &arguments[..arguments.len().min(limit)])
}

/// Splits at blanks into at most `N` arguments; `None` when there are more.
fn split<const N: usize>(line: &[u8]) -> Option<([&[u8]; N], usize)> {
    let mut arguments = [&line[0..0]; N];
    let mut count = 0;
    for argument in line.split(is_blank).filter(|part| !part.is_empty()) {
        *arguments.get_mut(count)? = argument;
        count += 1;
    }
    Some((arguments, count))
}

fn parse_message<'a>(
    input: &'a [u8],
    line: &'a [u8],
    body_at: usize,
    headers: bool,
    bounds: &Bounds,
) -> Result<Step<'a>, Violation> {
    const PUB: Violation = Violation::Arguments("processPub Parse Error");
    const PUB_SIZE: Violation = Violation::Arguments("processPub Bad or Missing Size");
    const HPUB: Violation = Violation::Arguments("processHeaderPub Parse Error");
    const HPUB_SIZE: Violation = Violation::Arguments("processHeaderPub Bad or Missing Total Size");
    const HPUB_HEADER: Violation =
        Violation::Arguments("processHeaderPub Bad or Missing Header Size");

    const HPUB_LARGER: Violation =
        Violation::Arguments("processHeaderPub Header Size larger then TotalSize");
    if headers && !bounds.headers {
        return Err(Violation::HeadersNotSupported);
    }
    let none = &line[0..0];
    let (subject, reply, header_digits, digits) = if headers {
        let (a, count) = split::<4>(line).ok_or(HPUB)?;
        match count {
            3 => (a[0], none, a[1], a[2]),
            4 => (a[0], a[1], a[2], a[3]),
            _ => return Err(HPUB),
        }
    } else {
        let (a, count) = split::<3>(line).ok_or(PUB)?;
        match count {
            2 => (a[0], none, none, a[1]),
            3 => (a[0], a[1], none, a[2]),
            _ => return Err(PUB),
        }
    };
    let header_len = if headers {
        Some(size(header_digits).ok_or(HPUB_HEADER)?)
    } else {
        None
    };
    let size = size(digits).ok_or(if headers { HPUB_SIZE } else { PUB_SIZE })?;
    if header_len.is_some_and(|len| len > size) {
        return Err(HPUB_LARGER);
    }
    if size > bounds.payload_bytes {
        return Err(Violation::Payload { size });
    }
    let total = body_at + size + 2;
    let ending = &input[(body_at + size).min(input.len())..total.min(input.len())];
    if !b"\r\n".starts_with(ending) {
        return Err(Violation::UnknownOperation);
    }
    if input.len() < total {
        return Ok(Step::More { total: Some(total) });
    }
    // An empty header block is none: delivered as MSG.
    let header_len = header_len.filter(|&len| len > 0);
    let publish = Publish {
        subject,
        reply,
        header_len,
        body: &input[body_at..body_at + size],
        rest: if headers && header_len.is_none() {
            None
        } else {
            canonical_rest(
                input,
                subject,
                [reply, header_digits, digits],
                body_at,
                total,
            )
        },
    };
    Ok(Step::Op(Op::Publish(publish), total))
}

/// The input from behind the subject on, when it reads as a delivery must.
fn canonical_rest<'a>(
    input: &'a [u8],
    subject: &[u8],
    arguments: [&[u8]; 3],
    body_at: usize,
    total: usize,
) -> Option<&'a [u8]> {
    let offset_of = |part: &[u8]| part.as_ptr() as usize - input.as_ptr() as usize;
    let start = offset_of(subject) + subject.len() + 1;
    let mut at = start;
    for argument in arguments.into_iter().filter(|a| !a.is_empty()) {
        if offset_of(argument) != at || input[at - 1] != b' ' {
            return None;
        }
        at += argument.len() + 1;
    }
    (input.get(at - 1..at + 1) == Some(b"\r\n") && at + 1 == body_at).then(|| &input[start..total])
}

fn parse_subscribe(line: &[u8]) -> Result<Op<'_>, Violation> {
    const SUB: Violation = Violation::Arguments("processSub Parse Error");
    let (a, count) = split::<3>(line).ok_or(SUB)?;
    match count {
        2 => Ok(Op::Subscribe {
            subject: a[0],
            queue: &line[0..0],
            sid: a[1],
        }),
        3 => Ok(Op::Subscribe {
            subject: a[0],
            queue: a[1],
            sid: a[2],
        }),
        _ => Err(SUB),
    }
}

fn parse_unsubscribe(line: &[u8]) -> Result<Op<'_>, Violation> {
    const UNSUB: Violation = Violation::Arguments("processUnsub Parse Error");
    let (a, count) = split::<2>(line).ok_or(UNSUB)?;
    match count {
        1 => Ok(Op::Unsubscribe { sid: a[0], max: 0 }),
        // A number that cannot be read counts as none, as in nats-server.
        2 => Ok(Op::Unsubscribe {
            sid: a[0],
            max: size(a[1]).unwrap_or(0) as u64,
        }),
        _ => Err(UNSUB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        control_line_bytes: 200,
        payload_bytes: 1000,
        headers: true,
    };

    /// Parses `text` with much behind it, so that the fast path may look, and alone, where it
    /// may not. Both must say the same.
    fn both(text: &[u8]) -> Result<(Op<'_>, usize), Violation> {
        let alone = parse_line(text, &BOUNDS).map(|step| match step {
            Step::Op(op, used) => (op, used),
            Step::More { .. } => panic!("complete: {}", text.escape_ascii()),
        });
        let mut longer = text.to_vec();
        longer.extend_from_slice(&[b'Z'; 100]);
        let together = parse(&longer, &BOUNDS).map(|step| match step {
            Step::Op(op, used) => (format!("{op:?}"), used),
            Step::More { .. } => panic!("complete: {}", text.escape_ascii()),
        });
        assert_eq!(
            alone.map(|(op, used)| (format!("{op:?}"), used)),
            together,
            "{}",
            text.escape_ascii()
        );
        alone
    }

    fn publish<'a>(
        subject: &'a str,
        reply: &'a str,
        header_len: Option<usize>,
        body: &'a str,
        rest: Option<&'a str>,
    ) -> Op<'a> {
        Op::Publish(Publish {
            subject: subject.as_bytes(),
            reply: reply.as_bytes(),
            header_len,
            body: body.as_bytes(),
            rest: rest.map(str::as_bytes),
        })
    }

    #[test]
    fn operations() {
        let sub = |subject: &'static str, queue: &'static str, sid: &'static str| Op::Subscribe {
            subject: subject.as_bytes(),
            queue: queue.as_bytes(),
            sid: sid.as_bytes(),
        };
        let long = "x".repeat(80);
        let long_pub = format!("PUB {long} 2\r\nhi\r\n");
        let cases: &[(&str, Op<'_>)] = &[
            (
                "PUB foo 2\r\nhi\r\n",
                publish("foo", "", None, "hi", Some("2\r\nhi\r\n")),
            ),
            (
                "pUb foo 0\r\n\r\n",
                publish("foo", "", None, "", Some("0\r\n\r\n")),
            ),
            (
                "PUB foo 002\r\nhi\r\n",
                publish("foo", "", None, "hi", Some("002\r\nhi\r\n")),
            ),
            (
                "PUB foo re 2\r\nhi\r\n",
                publish("foo", "re", None, "hi", Some("re 2\r\nhi\r\n")),
            ),
            (
                "PUB  foo 2\r\nhi\r\n",
                publish("foo", "", None, "hi", Some("2\r\nhi\r\n")),
            ),
            ("PUB foo  2\r\nhi\r\n", publish("foo", "", None, "hi", None)),
            (
                "PUB\tfoo\t2\r\nhi\r\n",
                publish("foo", "", None, "hi", None),
            ),
            ("PUB foo 2 \r\nhi\r\n", publish("foo", "", None, "hi", None)),
            ("PUB foo 2\nhi\r\n", publish("foo", "", None, "hi", None)),
            (
                "PUB a\0b 2\r\nhi\r\n",
                publish("a\0b", "", None, "hi", Some("2\r\nhi\r\n")),
            ),
            (
                &long_pub,
                publish(&long, "", None, "hi", Some("2\r\nhi\r\n")),
            ),
            (
                "HPUB f 3 5\r\nabchi\r\n",
                publish("f", "", Some(3), "abchi", Some("3 5\r\nabchi\r\n")),
            ),
            (
                "HPUB f r 3 5\r\nabchi\r\n",
                publish("f", "r", Some(3), "abchi", Some("r 3 5\r\nabchi\r\n")),
            ),
            ("HPUB f 0 2\r\nhi\r\n", publish("f", "", None, "hi", None)),
            (
                "HPUB f 5 5\r\nabchi\r\n",
                publish("f", "", Some(5), "abchi", Some("5 5\r\nabchi\r\n")),
            ),
            ("SUB foo 1\r\n", sub("foo", "", "1")),
            ("sub foo q  a-1\n", sub("foo", "q", "a-1")),
            ("UNSUB 1\r\n", Op::Unsubscribe { sid: b"1", max: 0 }),
            ("UNSUB 1 5\r\n", Op::Unsubscribe { sid: b"1", max: 5 }),
            ("UNSUB 1 -5\r\n", Op::Unsubscribe { sid: b"1", max: 0 }),
            ("CONNECT {}\r\n", Op::Connect(b"{}")),
            ("CONNECT{}\r\n", Op::Connect(b"{}")),
            ("PING\r\n", Op::Ping),
            ("PINGfoo\r\n", Op::Ping),
            ("pong\n", Op::Pong),
            ("+OK\r\n", Op::Ok),
            ("-ERR 'x'\r\n", Op::Err(b"'x'")),
            ("INFO {}\r\n", Op::Info(b"{}")),
        ];
        for (text, expected) in cases {
            assert_eq!(
                both(text.as_bytes()),
                Ok((*expected, text.len())),
                "{text:?}"
            );
        }
    }

    #[test]
    fn violations() {
        use Violation::{Arguments, ControlLine, Payload, UnknownOperation};
        let cases: &[(&str, Violation)] = &[
            ("\r\n", UnknownOperation),
            (" PING\r\n", UnknownOperation),
            ("PIN\r\n", UnknownOperation),
            ("PUB\r\n", UnknownOperation),
            ("SUBx 1\r\n", UnknownOperation),
            ("-ERR\r\n", UnknownOperation),
            ("MSG foo 1 2\r\nhi\r\n", UnknownOperation),
            ("PUB foo 2\r\nhixx", UnknownOperation),
            ("PUB foo 2\r\nhi\n", UnknownOperation),
            ("PUB \r\n", Arguments("processPub Parse Error")),
            ("PUB foo\r\n", Arguments("processPub Parse Error")),
            ("PUB a b c 2\r\n", Arguments("processPub Parse Error")),
            (
                "PUB foo -1\r\n",
                Arguments("processPub Bad or Missing Size"),
            ),
            (
                "PUB foo +2\r\n",
                Arguments("processPub Bad or Missing Size"),
            ),
            (
                "PUB foo 0000000002\r\n",
                Arguments("processPub Bad or Missing Size"),
            ),
            ("PUB foo 1001\r\n", Payload { size: 1001 }),
            (
                "HPUB f 6 5\r\nabchi\r\n",
                Arguments("processHeaderPub Header Size larger then TotalSize"),
            ),
            (
                "HPUB f x 5\r\nabchi\r\n",
                Arguments("processHeaderPub Bad or Missing Header Size"),
            ),
            ("HPUB f 5\r\n", Arguments("processHeaderPub Parse Error")),
            ("HPUB f 3 1001\r\n", Payload { size: 1001 }),
            ("SUB foo\r\n", Arguments("processSub Parse Error")),
            ("SUB a b c d\r\n", Arguments("processSub Parse Error")),
            ("UNSUB \r\n", Arguments("processUnsub Parse Error")),
        ];
        for (text, expected) in cases {
            assert_eq!(both(text.as_bytes()), Err(*expected), "{text:?}");
        }
        let long = format!("PUB {} 2\r\nhi\r\n", "x".repeat(200));
        assert_eq!(both(long.as_bytes()), Err(ControlLine));
        let endless = format!("SUB {}", "x".repeat(300));
        assert_eq!(both(endless.as_bytes()), Err(ControlLine));
    }

    /// Cut anywhere, an operation is "more", never an error and never something else.
    #[test]
    fn prefixes_want_more() {
        let whole = [
            "PUB foo re 5\r\nhello\r\n",
            "SUB foo q 1\r\n",
            "HPUB f 3 5\r\nabchi\r\n",
        ];
        for text in whole {
            for cut in 1..text.len() {
                let step = parse(&text.as_bytes()[..cut], &BOUNDS);
                let Ok(Step::More { total }) = step else {
                    panic!("{:?}: {step:?}", &text[..cut]);
                };
                assert!(total.is_none_or(|total| total == text.len()));
            }
        }
    }

    #[test]
    fn hpub_needs_headers() {
        let bounds = Bounds {
            headers: false,
            ..BOUNDS
        };
        let input = [b"HPUB f 3 5\r\nabchi\r\n".as_slice(), &[b'Z'; 64]].concat();
        assert_eq!(parse(&input, &bounds), Err(Violation::HeadersNotSupported));
    }
}
