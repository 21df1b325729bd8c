//! The monitoring port, as configured. What is asked there is not known here.

use super::Port;

/// Where monitoring is served, and below which path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MonitorOptions {
    /// `None`: where clients are listened for.
    pub host: Option<String>,
    pub http: Option<Port>,
    /// By the `tls` block of clients. Not beside `http`.
    pub https: Option<Port>,
    /// As it is written; empty for none.
    pub base_path: String,
}

impl MonitorOptions {
    /// The port of a number as operators write it; 0 is none.
    ///
    /// # Errors
    /// There is no such port.
    pub(super) fn port(number: i64) -> Result<Option<Port>, ()> {
        match number {
            0 => Ok(None),
            number => Port::from_number(number).map(Some).ok_or(()),
        }
    }

    /// The number that an operator writes for a port.
    pub fn number(port: Option<Port>) -> i64 {
        match port {
            None => 0,
            Some(Port::PickFree) => -1,
            Some(Port::Fixed(number)) => i64::from(number.get()),
        }
    }

    /// Whether it can be served; `with_tls` says whether there is a `tls` block. The texts are nats-server's.
    pub(super) fn check(&self, with_tls: bool) -> Result<(), String> {
        match (self.http, self.https) {
            (Some(http), Some(https)) => {
                let [http, https] = [http, https].map(|port| Self::number(Some(port)));
                Err(format!(
                    "can't specify both HTTP ({http}) and HTTPs ({https}) ports"
                ))
            }
            (None, Some(_)) if !with_tls => Err("TLS cert and key required for HTTPS".to_owned()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for number in [0, -1, 1, 8222, 65535] {
            let port = MonitorOptions::port(number).unwrap();
            assert_eq!(MonitorOptions::number(port), number);
        }
        assert_eq!(MonitorOptions::port(0), Ok(None));
        for wrong in [-2, 65536, i64::MIN, i64::MAX] {
            assert_eq!(MonitorOptions::port(wrong), Err(()));
        }
    }

    #[test]
    fn contradictions() {
        let check = |http, https, with_tls| {
            let options = MonitorOptions {
                http: MonitorOptions::port(http).unwrap(),
                https: MonitorOptions::port(https).unwrap(),
                ..MonitorOptions::default()
            };
            options.check(with_tls).err().unwrap_or_default()
        };
        let both = "can't specify both HTTP (-1) and HTTPs (8443) ports";
        let no_tls = "TLS cert and key required for HTTPS";
        for (http, https, with_tls, expected) in [
            (0, 0, false, ""),
            (8222, 0, false, ""),
            (0, 8443, true, ""),
            (0, -1, false, no_tls),
            (-1, 8443, true, both),
        ] {
            assert_eq!(check(http, https, with_tls), expected);
        }
    }
}
