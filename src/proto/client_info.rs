//! What one account's services are told of another account's client: the header
//! `Nats-Request-Info`, in nats-server's fields.

use serde::Serialize;

/// The header's name.
pub const REQUEST_INFO: &str = "Nats-Request-Info";

/// The header's value.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ClientInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    pub acc: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lang: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ver: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_tag: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_type: Option<&'static str>,
}

impl ClientInfo {
    /// Of a client that shares only its account.
    pub fn of_account(account: String) -> Self {
        Self {
            acc: account,
            ..Self::default()
        }
    }

    /// Adds what is known of its connection.
    pub fn describe(&mut self, client_id: u64, host: String, opened_at_unix_ms: u64) {
        let at = i64::try_from(opened_at_unix_ms).ok();
        let at = at.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        self.start = at.map(|at| at.to_string());
        self.host = Some(host);
        self.id = Some(client_id);
        self.kind = Some("Client");
        self.client_type = Some("nats");
    }

    /// Names the server, for those who may know.
    pub fn with_server(mut self, name: Option<&str>) -> Self {
        self.server = name.map(str::to_owned);
        self
    }

    /// As it stands in the header.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plain fields always serialise")
    }
}
