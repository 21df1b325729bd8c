//! Pull requests: how they are read, and those that wait, in the order in which they are served.
//!
//! Whoever has got a message goes to the end, so that work is shared; with priorities, to the end
//! of its own.

use std::collections::VecDeque;

use super::pending::NEVER;
use super::status::Left;
use crate::base::deadlines::Millis;
use crate::jetstream::api::decode;
use crate::jetstream::api::requests::NextRequest;

/// What a request says about itself where clients have priorities (ADR-42).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    pub min_pending: i64,
    pub min_ack_pending: i64,
    /// The pin that it believes to have.
    pub id: String,
    /// From 0, which comes first, to 9.
    pub priority: i64,
}

/// A request as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Messages.
    pub batch: i64,
    /// 0 for no limit.
    pub max_bytes: i64,
    /// Nanoseconds; 0 for never.
    pub expires: i64,
    /// Only what is there.
    pub no_wait: bool,
    /// Nanoseconds; 0 for none.
    pub idle_heartbeat: i64,
    /// Of requests in JSON.
    pub group: Option<Group>,
}

impl Asked {
    /// Reads a payload: nothing and what is no number ask for one message, a number for so many.
    ///
    /// # Errors
    /// What is wrong, as it is told to the client.
    pub fn parse(payload: &[u8]) -> Result<Self, String> {
        let payload = payload.trim_ascii();
        if !payload.starts_with(b"{") {
            let number = std::str::from_utf8(payload).ok();
            return Ok(Self {
                batch: number.and_then(|number| number.parse().ok()).unwrap_or(1),
                ..Self::default()
            });
        }
        let mut body = NextRequest::default();
        decode::one_value(payload, &mut body)?;
        if body.idle_heartbeat > 0 && body.idle_heartbeat.saturating_mul(2) > body.expires {
            return Err("heartbeat value too large".to_owned());
        }
        Ok(Self {
            batch: body.batch,
            max_bytes: body.max_bytes,
            expires: body.expires,
            no_wait: body.no_wait,
            idle_heartbeat: body.idle_heartbeat,
            group: Some(Group {
                name: body.group,
                min_pending: body.min_pending,
                min_ack_pending: body.min_ack_pending,
                id: body.id,
                priority: body.priority,
            }),
        })
    }
}

/// A request that waits.
#[derive(Debug)]
pub struct Request {
    pub reply: Box<[u8]>,
    /// Messages that it still wants.
    pub left: u64,
    /// Whether it has got one.
    pub is_served: bool,
    pub no_wait: bool,
    pub has_byte_limit: bool,
    /// Bytes that it still takes.
    pub bytes_left: u64,
    pub expires_ms: Millis,
    /// 0 for none.
    pub heartbeat_ms: Millis,
    pub next_heartbeat_ms: Millis,
    pub group: Option<Box<Group>>,
}

impl Request {
    /// What is left of it.
    pub fn left(&self) -> Left {
        Left {
            messages: self.left,
            bytes: self.bytes_left,
        }
    }

    fn priority(&self) -> i64 {
        self.group.as_ref().map_or(i64::MAX, |g| g.priority)
    }

    fn next_event_ms(&self) -> Millis {
        self.expires_ms.min(self.next_heartbeat_ms)
    }
}

/// The requests that wait. The first is served next.
#[derive(Debug)]
pub struct Waiting {
    requests: VecDeque<Request>,
    /// Nothing expires and no heartbeat is due before.
    next_event_ms: Millis,
    /// How many want only what is there.
    no_wait: usize,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            requests: VecDeque::new(),
            next_event_ms: NEVER,
            no_wait: 0,
        }
    }
}

impl Waiting {
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// When something may expire, or a heartbeat be due.
    pub fn next_event_ms(&self) -> Millis {
        self.next_event_ms
    }

    /// Whether one wants only what is there.
    pub fn has_no_wait(&self) -> bool {
        self.no_wait > 0
    }

    pub fn first(&mut self) -> Option<&mut Request> {
        self.requests.front_mut()
    }

    /// Adds one at the end, or with `by_priority` at the end of its own.
    pub fn add(&mut self, request: Request, by_priority: bool) {
        self.no_wait += usize::from(request.no_wait);
        self.next_event_ms = self.next_event_ms.min(request.next_event_ms());
        if by_priority {
            let priority = request.priority();
            let at = self.requests.partition_point(|r| r.priority() <= priority);
            self.requests.insert(at, request);
        } else {
            self.requests.push_back(request);
        }
    }

    /// Has the next one come first.
    pub fn rotate(&mut self) {
        if self.requests.len() > 1 {
            self.requests.rotate_left(1);
        }
    }

    /// The first was served: it goes to the end, or of its own with `by_priority`.
    pub fn requeue_first(&mut self, by_priority: bool) {
        if self.requests.len() < 2 {
            return;
        }
        if !by_priority {
            self.requests.rotate_left(1);
        } else if let Some(request) = self.remove_first() {
            self.add(request, true);
        }
    }

    pub fn remove_first(&mut self) -> Option<Request> {
        let request = self.requests.pop_front();
        let is_no_wait = request.as_ref().is_some_and(|request| request.no_wait);
        self.no_wait -= usize::from(is_no_wait);
        if self.requests.is_empty() {
            self.next_event_ms = NEVER;
            if self.requests.capacity() > 16 {
                self.requests.shrink_to(4);
            }
        }
        request
    }

    /// Messages that they want together.
    pub fn wanted(&self) -> u64 {
        self.requests
            .iter()
            .fold(0, |sum, request| sum.saturating_add(request.left))
    }

    /// Shows each to `keeps`, and drops those that it does not keep.
    pub fn retain(&mut self, keeps: impl FnMut(&mut Request) -> bool) {
        self.requests.retain_mut(keeps);
        self.no_wait = self.requests.iter().filter(|r| r.no_wait).count();
        let events = self.requests.iter().map(Request::next_event_ms);
        self.next_event_ms = events.min().unwrap_or(NEVER);
    }

    /// Takes all.
    pub fn take(&mut self) -> impl Iterator<Item = Request> + use<> {
        std::mem::take(self).requests.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read() {
        let number = |batch| {
            Ok(Asked {
                batch,
                ..Asked::default()
            })
        };
        let json = |asked: Asked| {
            Ok(Asked {
                group: Some(Group::default()),
                ..asked
            })
        };
        let cases = [
            ("", number(1)),
            ("  ", number(1)),
            ("7", number(7)),
            (" 7 ", number(7)),
            ("seven", number(1)),
            ("{}", json(Asked::default())),
            (
                r#"{"batch":3,"expires":5,"max_bytes":9,"no_wait":true,"idle_heartbeat":2,"x":1}"#,
                json(Asked {
                    batch: 3,
                    expires: 5,
                    max_bytes: 9,
                    no_wait: true,
                    idle_heartbeat: 2,
                    group: None,
                }),
            ),
            (
                r#"{"batch":1,"expires":3,"idle_heartbeat":2}"#,
                Err("heartbeat value too large".to_owned()),
            ),
        ];
        for (payload, expected) in cases {
            assert_eq!(Asked::parse(payload.as_bytes()), expected, "{payload}");
        }
        for (payload, why) in [
            ("{", "unexpected end of JSON input"),
            (
                r#"{"batch":"x"}"#,
                "json: cannot unmarshal string into Go struct field JSApiConsumerGetNextRequest.batch of type int",
            ),
        ] {
            assert_eq!(Asked::parse(payload.as_bytes()), Err(why.to_owned()));
        }
    }

    fn request(name: &str, priority: Option<i64>) -> Request {
        Request {
            reply: name.as_bytes().into(),
            left: 9,
            is_served: false,
            no_wait: false,
            has_byte_limit: false,
            bytes_left: 0,
            expires_ms: NEVER,
            heartbeat_ms: 0,
            next_heartbeat_ms: NEVER,
            group: priority.map(|priority| {
                Box::new(Group {
                    priority,
                    ..Group::default()
                })
            }),
        }
    }

    fn order(waiting: &mut Waiting, by_priority: bool) -> String {
        let mut order = String::new();
        for _ in 0..6 {
            let first = waiting.first().unwrap();
            order.push_str(std::str::from_utf8(&first.reply).unwrap());
            waiting.requeue_first(by_priority);
        }
        order
    }

    #[test]
    fn everybody_has_a_turn() {
        let mut waiting = Waiting::default();
        for name in ["a", "b", "c"] {
            waiting.add(request(name, None), false);
        }
        assert_eq!(order(&mut waiting, false), "abcabc");
        let mut waiting = Waiting::default();
        for (name, priority) in [("a", 2), ("b", 1), ("c", 1), ("d", 0)] {
            waiting.add(request(name, Some(priority)), true);
        }
        assert_eq!(order(&mut waiting, true), "dddddd");
        waiting.remove_first();
        assert_eq!(order(&mut waiting, true), "bcbcbc");
    }
}
