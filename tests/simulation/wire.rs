//! What a client reads: the server's operations, parsed by code that shares nothing with the
//! broker's own.

/// One operation of the server.
#[derive(Debug)]
pub enum ServerOp<'a> {
    /// `MSG` or, with a header block, `HMSG`.
    Message(Delivery<'a>),
    /// `PONG`.
    Pong,
    /// `PING`.
    Ping,
    /// `+OK`.
    Ok,
    /// `-ERR`, without the quotes.
    Err(&'a str),
    /// `INFO`.
    Info(&'a str),
}

/// A message as a client gets it.
#[derive(Debug)]
pub struct Delivery<'a> {
    pub subject: &'a str,
    pub sid: &'a str,
    pub reply: &'a str,
    pub header: &'a [u8],
    pub payload: &'a [u8],
}

/// The first operation in `input` and its length; `None` while it is not all there.
pub fn parse(input: &[u8]) -> Option<(ServerOp<'_>, usize)> {
    let newline = memchr::memchr(b'\n', input)?;
    let line = std::str::from_utf8(&input[..newline]).expect("control lines are ASCII here");
    let line = line.strip_suffix('\r').expect("lines end with CRLF");
    let used = newline + 1;
    let op = match line {
        "PONG" => ServerOp::Pong,
        "PING" => ServerOp::Ping,
        "+OK" => ServerOp::Ok,
        _ => {
            let (verb, arguments) = line.split_once(' ').expect("a verb and arguments");
            match verb {
                "INFO" => ServerOp::Info(arguments),
                "-ERR" => ServerOp::Err(arguments.trim_matches('\'')),
                "MSG" | "HMSG" => return message(input, used, verb == "HMSG", arguments),
                _ => panic!("the server sent {line:?}"),
            }
        }
    };
    Some((op, used))
}

fn message<'a>(
    input: &'a [u8],
    body_at: usize,
    headers: bool,
    arguments: &'a str,
) -> Option<(ServerOp<'a>, usize)> {
    let words: Vec<&str> = arguments.split(' ').collect();
    let sizes = if headers { 2 } else { 1 };
    assert!(
        words.len() == sizes + 2 || words.len() == sizes + 3,
        "arguments of a message: {arguments:?}"
    );
    let size = |word: &str| word.parse::<usize>().expect("a size");
    let total = size(words[words.len() - 1]);
    let header = if headers {
        size(words[words.len() - 2])
    } else {
        0
    };
    assert!(header <= total && (header > 0) == headers);
    let end = body_at + total;
    if input.len() < end + 2 {
        return None;
    }
    assert_eq!(&input[end..end + 2], b"\r\n", "behind the payload");
    let delivery = Delivery {
        subject: words[0],
        sid: words[1],
        reply: if words.len() == sizes + 3 {
            words[2]
        } else {
            ""
        },
        header: &input[body_at..body_at + header],
        payload: &input[body_at + header..end],
    };
    Some((ServerOp::Message(delivery), end + 2))
}

/// Whether a pattern matches a subject, written once more and as plainly as can be.
pub fn matches(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in pattern.split('.') {
        match (wanted, tokens.next()) {
            (_, None) => return false,
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted != token => return false,
            _ => {}
        }
    }
    tokens.next().is_none()
}
