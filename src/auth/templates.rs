//! Templates in the permissions of a scoped signing key: `{{name()}}`, `{{subject()}}`,
//! `{{account-name()}}`, `{{account-subject()}}`, `{{tag(x)}}` and `{{account-tag(x)}}`, which
//! become what the user's and the account's claims say.
//!
//! A tag may have several values, then the subject becomes several. What is put in is never read
//! as a template again. A list in which a template occurs must be of plain subjects afterwards:
//! others are left out of what is allowed, and fail if they were to be denied.

use super::claims::{AccountClaims, PermissionClaims, UserClaims};
use crate::subject::is_valid_pattern;

/// Subjects that the templates of one list may become.
const SUBJECTS_MAX: usize = 4096;

/// Puts the claims of a user and its account in the permissions of its scope.
///
/// # Errors
/// A template is unknown, becomes too much, or a subject to be denied would be lost.
pub fn expand(
    template: &PermissionClaims,
    user: &UserClaims,
    account: &AccountClaims,
) -> Result<PermissionClaims, String> {
    let values = Values { user, account };
    let mut expanded = template.clone();
    for rules in [&mut expanded.subscribe, &mut expanded.publish] {
        if let Some(allow) = &mut rules.allow {
            let had_some = !allow.is_empty();
            *allow = values.list(allow, false)?;
            // Nothing that was allowed is left: everything must not become allowed by that.
            if had_some && allow.is_empty() {
                rules.deny.push(">".to_owned());
            }
        }
        rules.deny = values.list(&rules.deny, true)?;
    }
    Ok(expanded)
}

/// A piece of an entry.
enum Piece<'a> {
    Text(&'a str),
    /// Which of the entry's templates.
    Template(usize),
}

struct Values<'a> {
    user: &'a UserClaims,
    account: &'a AccountClaims,
}

impl Values<'_> {
    fn list(&self, list: &[String], must_be_valid: bool) -> Result<Vec<String>, String> {
        if !list.iter().any(|entry| next_template(entry).is_some()) {
            return Ok(list.to_vec());
        }
        let mut subjects = Vec::new();
        for entry in list {
            self.entry(entry, must_be_valid, &mut subjects)?;
        }
        Ok(subjects)
    }

    fn entry(
        &self,
        entry: &str,
        must_be_valid: bool,
        subjects: &mut Vec<String>,
    ) -> Result<(), String> {
        let (pieces, templates) = cut(entry);
        // One that occurs twice has the same value in both places.
        let mut choices: Vec<Vec<&str>> = Vec::with_capacity(templates.len());
        let mut count = 1_usize;
        for template in &templates {
            let values = self.values(template)?;
            if values.is_empty() {
                return match must_be_valid {
                    true => Err(format!("{template:?} in {entry:?} has no value")),
                    false => Ok(()),
                };
            }
            count = count.saturating_mul(values.len());
            choices.push(values);
        }
        if subjects.len().saturating_add(count) > SUBJECTS_MAX {
            return Err(format!("template expansion exceeds limit: {SUBJECTS_MAX}"));
        }
        for number in 0..count {
            let mut rest = number;
            let chosen: Vec<&str> = choices
                .iter()
                .rev()
                .map(|values| {
                    let value = values[rest % values.len()];
                    rest /= values.len();
                    value
                })
                .collect();
            let subject: String = pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) => text,
                    // They were chosen from the last to the first.
                    Piece::Template(at) => chosen[chosen.len() - 1 - at],
                })
                .collect();
            if is_valid_pattern(subject.as_bytes()) {
                subjects.push(subject);
            } else if must_be_valid {
                return Err(format!("template generates invalid subject {subject:?}"));
            }
        }
        Ok(())
    }

    /// What a template stands for.
    fn values(&self, template: &str) -> Result<Vec<&str>, String> {
        let operation = template.trim();
        let Some((name, argument)) = operation
            .strip_suffix(')')
            .and_then(|operation| operation.split_once('('))
        else {
            return Err(format!("template operation {operation:?} is not defined"));
        };
        let name = name.to_ascii_lowercase();
        match (name.as_str(), argument) {
            ("name", "") => Ok(vec![&self.user.common.name]),
            ("subject", "") => Ok(vec![&self.user.common.subject]),
            ("account-name", "") => Ok(vec![&self.account.common.name]),
            ("account-subject", "") => Ok(vec![self.user.account()]),
            ("tag", tag) => Ok(of_tag(&self.user.common.tags, tag)),
            ("account-tag", tag) => Ok(of_tag(&self.account.common.tags, tag)),
            _ => Err(format!("template operation {operation:?} is not defined")),
        }
    }
}

/// Values of the tags `tag:value`.
fn of_tag<'a>(tags: &'a [String], tag: &str) -> Vec<&'a str> {
    let prefix = format!("{}:", tag.to_lowercase());
    tags.iter()
        .filter_map(|tag| tag.strip_prefix(&prefix))
        .collect()
}

/// Cuts an entry into text and templates, and lists the different templates.
fn cut(entry: &str) -> (Vec<Piece<'_>>, Vec<&str>) {
    let (mut pieces, mut templates) = (Vec::new(), Vec::new());
    let mut rest = entry;
    while let Some((before, template, after)) = next_template(rest) {
        pieces.push(Piece::Text(before));
        let at = templates.iter().position(|&known| known == template);
        pieces.push(Piece::Template(at.unwrap_or(templates.len())));
        if at.is_none() {
            templates.push(template);
        }
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    (pieces, templates)
}

/// The first `{{…}}` with anything but `}` in it: text before, inside and behind.
fn next_template(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(at) = text[from..].find("{{") {
        let inside = from + at + 2;
        let end = inside + text[inside..].find('}')?;
        if end > inside && text[end..].starts_with("}}") {
            return Some((&text[..inside - 2], &text[inside..end], &text[end + 2..]));
        }
        from = end + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::claims::UserClaims;
    use crate::auth::vectors::{ACCOUNT, ACCOUNT_TOKEN, SCOPED_TOKEN, USER};
    use crate::base::prng::Prng;

    fn claims() -> (UserClaims, AccountClaims) {
        (
            UserClaims::decode(SCOPED_TOKEN).expect("a user"),
            AccountClaims::decode(ACCOUNT_TOKEN).expect("an account"),
        )
    }

    fn allowing(list: &[&str]) -> PermissionClaims {
        let mut permissions = PermissionClaims::default();
        permissions.publish.allow = Some(list.iter().map(|&s| s.to_owned()).collect());
        permissions
    }

    #[test]
    fn what_templates_become() {
        let (user, account) = claims();
        let subject = format!("{USER}.{ACCOUNT}");
        let cases: &[(&[&str], &[&str])] = &[
            (&["a.b", "c q"], &["a.b", "c q"]),
            (&["a.{{name()}}"], &["a.worker"]),
            (&["{{ NAME() }}.{{account-name()}}"], &["worker.A"]),
            (&["{{subject()}}.{{account-subject()}}"], &[&subject]),
            (&["x.{{tag(team)}}"], &["x.blue", "x.red"]),
            (
                &["x.{{tag(TEAM)}}.{{tag(team)}}"],
                &["x.blue.blue", "x.blue.red", "x.red.blue", "x.red.red"],
            ),
            (&["{{tag(team)}}.{{tag(team)}}"], &["blue.blue", "red.red"]),
            (
                &["{{account-tag(region)}}.{{name()}}.{{tag(team)}}"],
                &[
                    "eu.worker.blue",
                    "eu.worker.red",
                    "us.worker.blue",
                    "us.worker.red",
                ],
            ),
            (&["{{tag(none)}}", "y"], &["y"]),
            // As in nats-server, a list with templates has no queues.
            (&["a.{{name()}} q", "b q", "c"], &["c"]),
            (&["{{}}", "{{x}", "{x}}"], &["{{}}", "{{x}", "{x}}"]),
        ];
        for &(list, expected) in cases {
            let expanded = expand(&allowing(list), &user, &account).expect("they are fine");
            assert_eq!(expanded.publish.allowed(), expected, "{list:?}");
            assert!(expanded.publish.deny.is_empty());
        }
        let none = expand(&allowing(&["{{tag(none)}}"]), &user, &account).expect("fine");
        assert_eq!(none.publish.allow.as_deref(), Some(&[][..]));
        assert_eq!(none.publish.deny, [">"]);
    }

    #[test]
    fn what_fails() {
        let (user, account) = claims();
        for entry in [
            "{{none()}}",
            "{{name}}",
            "{{name(x)}}",
            "{{ }}",
            "{{()}}",
            "{{{name()}}",
            "{{tag(}}",
        ] {
            assert!(
                expand(&allowing(&[entry]), &user, &account).is_err(),
                "{entry}"
            );
        }
        for entry in ["{{tag(none)}}", "a..{{name()}}", "{{name()}} q"] {
            let mut permissions = PermissionClaims::default();
            permissions.subscribe.deny.push(entry.to_owned());
            assert!(expand(&permissions, &user, &account).is_err(), "{entry}");
        }
    }

    #[test]
    fn expansion_is_bounded() {
        let (mut user, account) = claims();
        user.common.tags = (0..16).map(|i| format!("t:{i}")).collect();
        let long = "{{tag(t)}}.".repeat(1000);
        let cases = [
            ("{{tag(t)}}.{{tag(T)}}.{{Tag(t)}}", Some(4096)),
            ("{{tag(t)}}.{{tag(T)}}.{{Tag(t)}}.{{TAG(t)}}", None),
            (long.trim_end_matches('.'), Some(16)),
        ];
        for (entry, expected) in cases {
            let expanded = expand(&allowing(&[entry]), &user, &account).ok();
            let count = expanded.map(|permissions| permissions.publish.allowed().len());
            assert_eq!(count, expected, "{}", entry.len());
        }
        let twice = ["{{tag(t)}}.{{tag(T)}}.{{Tag(t)}}", "{{name()}}"];
        assert!(expand(&allowing(&twice), &user, &account).is_err());
    }

    #[test]
    fn what_is_put_in_is_no_template() {
        let (mut user, account) = claims();
        user.common.name = "{{subject()}}".into();
        let expanded = expand(&allowing(&["{{name()}}.{{subject()}}"]), &user, &account);
        assert_eq!(
            expanded.expect("fine").publish.allowed(),
            [format!("{{{{subject()}}}}.{USER}")]
        );
    }

    #[test]
    fn noise_does_not_panic() {
        let (user, account) = claims();
        let words = [
            "{{", "}}", "{", "}", "tag(", ")", "name()", "(", ".", " ", "é", "team", "*", ">",
        ];
        let mut random = Prng::new(3);
        for _ in 0..20_000 {
            let count = random.next_u64() % 9;
            let entry: String = (0..count)
                .map(|_| words[(random.next_u64() % 14) as usize])
                .collect();
            let mut permissions = allowing(&[&entry]);
            permissions.subscribe.deny.push(entry);
            let _ = expand(&permissions, &user, &account);
        }
    }
}
