//! The files of the live page, as they lie in `src/monitor/page`; its README says how they are to be sent.

/// What a browser lets them do: nothing but to ask this server.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// A file.
#[derive(Clone, Copy, Debug)]
pub struct File {
    pub content_type: &'static str,
    pub body: &'static [u8],
}

macro_rules! files {
    ($($name:literal: $content_type:ident),* $(,)?) => {
        &[$(($name, File {
            content_type: $content_type,
            body: include_bytes!(concat!("../monitor/page/", $name)),
        })),*]
    };
}

const FILES: &[(&str, File)] = files! {
    "page.css": STYLE,
    "uplot.css": STYLE,
    "page.js": SCRIPT,
    "format.js": SCRIPT,
    "history.js": SCRIPT,
    "poller.js": SCRIPT,
    "plots.js": SCRIPT,
    "tables.js": SCRIPT,
    "uplot.js": SCRIPT,
    "icon.svg": IMAGE,
};

/// The page itself.
pub const INDEX: File = File {
    content_type: HTML,
    body: include_bytes!("../monitor/page/index.html"),
};

/// A file that the page has below `/page/`.
pub fn file(name: &str) -> Option<File> {
    let found = FILES.iter().find(|(known, _)| *known == name);
    found.map(|(_, file)| *file)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each file that one refers to is there.
    #[test]
    fn all_are_there() {
        let text = |file: File| std::str::from_utf8(file.body).unwrap();
        let index = text(INDEX);
        for (name, _) in FILES {
            assert!(
                index.contains(name) || FILES.iter().any(|(_, other)| text(*other).contains(name)),
                "{name} is used"
            );
        }
        let mut referred = 0;
        for part in index.split("\"page/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(file(name).is_some(), "{name}");
            referred += 1;
        }
        assert!(referred > 3, "{referred}");
        assert!(file("../page.rs").is_none());
    }
}
