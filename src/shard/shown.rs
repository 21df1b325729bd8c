//! What the log shows of messages when it shows each operation (`trace`).

use super::publish::{Message, Origin};
use super::{Effects, Level, Shard};
use crate::proto::client::Publish;
use crate::proto::quote::quote;
use crate::router::{PlanId, SubId};

impl Shard {
    #[cold]
    pub(super) fn trace_publish(&mut self, from: u32, publish: &Publish<'_>, fx: &mut Effects) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut line = if publish.header_len.is_some() {
            "HPUB"
        } else {
            "PUB"
        }
        .to_owned();
        for part in [publish.subject, publish.reply] {
            if !part.is_empty() {
                line = format!("{line} {}", text(part));
            }
        }
        if let Some(len) = publish.header_len {
            line = format!("{line} {len}");
        }
        let line = format!("<<- [{line} {}]", publish.body.len());
        self.log(from, Level::Trace, &line, fx);
        let header_len = publish.header_len.unwrap_or(0);
        self.trace_payload(from, "<<-", publish.body, header_len, fx);
    }

    #[cold]
    pub(super) fn trace_deliveries(
        &mut self,
        (plan, part): (PlanId, usize),
        origin: &Origin,
        refused: &[SubId],
        message: &Message<'_>,
        fx: &mut Effects,
    ) {
        for sub in self.router.plans.get(plan).part(part).plain.clone() {
            if self.router.subs[sub].conn != origin.no_echo && !refused.contains(&sub) {
                self.trace_delivery(sub, message, fx);
            }
        }
    }

    #[cold]
    pub(super) fn trace_delivery(&mut self, sub: SubId, message: &Message<'_>, fx: &mut Effects) {
        let conn = self.router.subs[sub].conn;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let strip = message.header_len > 0 && !self.sessions[conn as usize].headers;
        let mut line = if message.header_len > 0 && !strip {
            "HMSG"
        } else {
            "MSG"
        }
        .to_owned();
        line = format!("{line} {} {}", text(message.subject), self.sid_text(sub));
        if message.reply_len > 0 {
            line = format!("{line} {}", text(message.reply()));
        }
        if message.header_len > 0 && !strip {
            line = format!("{line} {}", message.header_len);
        }
        let (stripped, header_len) = match strip {
            true => (message.header_len, 0),
            false => (0, message.header_len),
        };
        let body = &message.body()[stripped..];
        self.log(
            conn,
            Level::Trace,
            &format!("->> [{line} {}]", body.len()),
            fx,
        );
        self.trace_payload(conn, "->>", body, header_len, fx);
    }

    /// As nats-server, shows nothing of nothing; and with `trace_headers` only what comes before the payload.
    fn trace_payload(
        &mut self,
        conn: u32,
        way: &str,
        body: &[u8],
        header_len: usize,
        fx: &mut Effects,
    ) {
        let shown = match self.settings.limits.trace_headers {
            true => shown_headers(&body[..header_len.min(body.len())]),
            false => body,
        };
        if !shown.is_empty() {
            let payload = self.shown_payload(shown);
            let line = format!("{way} MSG_PAYLOAD: [{payload}]");
            self.log(conn, Level::Trace, &line, fx);
        }
    }

    /// As much of a message as traces show.
    fn shown_payload(&self, body: &[u8]) -> String {
        let max = self.settings.limits.max_traced_bytes;
        if max == 0 || body.len() <= max {
            return quote(body).to_string();
        }
        let quoted = quote(&body[..max]).to_string();
        let shown = quoted.strip_suffix('"').unwrap_or(&quoted);
        format!("{shown}...\"")
    }
}

/// Headers without the line that ends them.
fn shown_headers(headers: &[u8]) -> &[u8] {
    headers.strip_suffix(b"\r\n\r\n").unwrap_or(headers)
}
