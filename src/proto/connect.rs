//! The options in a CONNECT.

use std::fmt;

use serde_json::Value;

/// What a client asked for. A second CONNECT is laid over the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectOptions {
    /// `+OK` for each operation.
    pub verbose: bool,
    /// Publish subjects are checked.
    pub pedantic: bool,
    /// The client gets its own messages.
    pub echo: bool,
    /// The client understands HMSG and sends HPUB.
    pub headers: bool,
    /// A request without a responder is answered with status 503. Needs `headers`.
    pub no_responders: bool,
    /// The client wants TLS.
    pub tls_required: bool,
    /// 0, or 1 for clients that take INFO at any time.
    pub protocol: i64,
    /// Token.
    pub auth_token: Option<Box<str>>,
    /// User name.
    pub user: Option<Box<str>>,
    /// Password.
    pub pass: Option<Box<str>>,
    /// The application's name for the connection.
    pub name: Option<Box<str>>,
    /// The client's language.
    pub lang: Option<Box<str>>,
    /// The client's version.
    pub version: Option<Box<str>>,
    /// Public user key.
    pub nkey: Option<Box<str>>,
    /// User claims.
    pub jwt: Option<Box<str>>,
    /// The nonce, signed.
    pub sig: Option<Box<str>>,
    /// The nonce, signed by a proxy.
    pub proxy_sig: Option<Box<str>>,
    /// An account by name, which servers refuse.
    pub account: Option<Box<str>>,
    /// A new account, which servers refuse.
    pub new_account: bool,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            verbose: true,
            pedantic: true,
            echo: true,
            headers: false,
            no_responders: false,
            tls_required: false,
            protocol: 0,
            auth_token: None,
            user: None,
            pass: None,
            name: None,
            lang: None,
            version: None,
            nkey: None,
            jwt: None,
            sig: None,
            proxy_sig: None,
            account: None,
            new_account: false,
        }
    }
}

/// Why a CONNECT cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// Not JSON, or not an object.
    Json(String),
    /// A known option with a value of the wrong type.
    Type {
        /// The option as the client spelled it.
        option: String,
        /// What it takes.
        wanted: &'static str,
    },
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Json(error) => write!(f, "CONNECT is not a JSON object: {error}"),
            ConnectError::Type { option, wanted } => {
                write!(f, "CONNECT option {option:?} must be {wanted}")
            }
        }
    }
}

impl ConnectOptions {
    /// Lays the options of `json` over these. Names are compared without case, `null` leaves an
    /// option as it is, unknown options are ignored: as Go's JSON decoder does.
    pub fn merge(&mut self, json: &[u8]) -> Result<(), ConnectError> {
        let text = String::from_utf8_lossy(json);
        let value: Value =
            serde_json::from_str(&text).map_err(|e| ConnectError::Json(e.to_string()))?;
        let options = match value {
            Value::Object(options) => options,
            Value::Null => return Ok(()),
            _ => return Err(ConnectError::Json("another type".into())),
        };
        for (option, value) in options.into_iter().filter(|(_, value)| !value.is_null()) {
            self.set(&option, value)?;
        }
        Ok(())
    }

    fn set(&mut self, option: &str, value: Value) -> Result<(), ConnectError> {
        let wrong = |wanted| ConnectError::Type {
            option: option.to_owned(),
            wanted,
        };
        let known = option.to_ascii_lowercase();
        if let Some(flag) = self.flag(&known) {
            *flag = value.as_bool().ok_or_else(|| wrong("true or false"))?;
        } else if let Some(text) = self.text(&known) {
            match value {
                Value::String(given) => *text = Some(given.into()),
                _ => return Err(wrong("a string")),
            }
        } else {
            match known.as_str() {
                "protocol" => {
                    self.protocol = value.as_i64().ok_or_else(|| wrong("an integer"))?;
                }
                // Of other kinds of peers; checked for form only.
                "remote_account" if !value.is_string() => {
                    return Err(wrong("a string"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn flag(&mut self, option: &str) -> Option<&mut bool> {
        Some(match option {
            "verbose" => &mut self.verbose,
            "pedantic" => &mut self.pedantic,
            "echo" => &mut self.echo,
            "headers" => &mut self.headers,
            "no_responders" => &mut self.no_responders,
            "tls_required" => &mut self.tls_required,
            "new_account" => &mut self.new_account,
            _ => return None,
        })
    }

    fn text(&mut self, option: &str) -> Option<&mut Option<Box<str>>> {
        Some(match option {
            "auth_token" => &mut self.auth_token,
            "user" => &mut self.user,
            "pass" => &mut self.pass,
            "name" => &mut self.name,
            "lang" => &mut self.lang,
            "version" => &mut self.version,
            "nkey" => &mut self.nkey,
            "jwt" => &mut self.jwt,
            "sig" => &mut self.sig,
            "proxy_sig" => &mut self.proxy_sig,
            "account" => &mut self.account,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_laid_over_the_defaults() {
        let mut options = ConnectOptions::default();
        options
            .merge(br#"{"VERBOSE":false,"echo":null,"name":"n","protocol":1,"other":[1]}"#)
            .expect("valid");
        assert!(!options.verbose && options.pedantic && options.echo);
        assert_eq!(options.name.as_deref(), Some("n"));
        options.merge(br#"{"pedantic":false}"#).expect("valid");
        assert!(!options.verbose && !options.pedantic);
        options.merge(b"null").expect("null is nothing");
    }

    #[test]
    fn what_cannot_be_read() {
        for json in [
            "",
            "[]",
            "5",
            "\"x\"",
            "{} x",
            r#"{"verbose":"true"}"#,
            r#"{"verbose":1}"#,
            r#"{"protocol":"1"}"#,
            r#"{"protocol":1.5}"#,
            r#"{"protocol":1.0}"#,
            r#"{"name":5}"#,
            r#"{"jwt":5}"#,
        ] {
            let result = ConnectOptions::default().merge(json.as_bytes());
            assert!(result.is_err(), "{json}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_replaced() {
        let mut options = ConnectOptions::default();
        options.merge(b"{\"name\":\"a\xffb\"}").expect("valid");
        assert_eq!(options.name.as_deref(), Some("a\u{fffd}b"));
    }
}
