//! Tables of configurations and of what is presented to them.

mod callout;
mod claims;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use data_encoding::{BASE64, BASE64URL_NOPAD};

use super::*;
use crate::auth::admission::TlsFacts;
use crate::auth::certificate::examples;
use crate::auth::definition::{PermissionRules, Secret, SubjectRules, UserDefinition};
use crate::auth::nkey::SigningKey;
use crate::auth::vectors::{self, ACCOUNT, USER};

const NOW: u64 = 1_900_000_000;
const NONCE: &str = "nonce-nonce-nonc";
/// `s3cr3t`
const HASH: &str = "$2a$04$HoIuWoo2bj8nlDmXvQauvubBrDIfXiFFG1s72nUi/VoWp/DgnuVPG";

type Names = HashMap<String, AccountView>;

impl Accounts for Names {
    fn account(&self, name: &str) -> Option<AccountView> {
        self.get(name).cloned()
    }
}

fn accounts(names: &[&str]) -> Names {
    let view = |(at, name): (usize, &&str)| {
        let view = AccountView {
            id: AccountId(at as u32),
            name: (**name).into(),
            claims: None,
        };
        ((*name).to_owned(), view)
    };
    names.iter().enumerate().map(view).collect()
}

fn configured() -> Names {
    accounts(&["$G", "$SYS", "A", "B", "AUTH"])
}

fn secret(text: &str) -> Option<Secret> {
    Some(Secret(text.to_owned()))
}

fn key(kind: KeyKind, byte: u8) -> SigningKey {
    SigningKey::from_seed(kind, &[byte; 32]).expect("it can sign")
}

fn nobody() -> Presented {
    Presented {
        user: None,
        pass: None,
        token: None,
        nkey: None,
        jwt: None,
        sig: None,
        proxy_sig: None,
        nonce: NONCE.into(),
        connection_type: ConnectionType::Standard,
        peer: [127, 0, 0, 1].into(),
        port: 1,
        client_id: 5,
        name: Some("app".into()),
        lang: Some("go".into()),
        version: Some("1.0".into()),
        protocol: 1,
        tls: None,
    }
}

fn by_password(user: &str, pass: &str) -> Presented {
    Presented {
        user: Some(user.into()),
        pass: secret(pass),
        ..nobody()
    }
}

fn by_token(token: &str) -> Presented {
    Presented {
        token: secret(token),
        ..nobody()
    }
}

fn by_nkey(byte: u8, nonce: &str) -> Presented {
    let user = key(KeyKind::User, byte);
    Presented {
        nkey: Some(user.public().to_string().into()),
        sig: Some(BASE64URL_NOPAD.encode(&user.sign(nonce.as_bytes())).into()),
        ..nobody()
    }
}

fn by_certificate(certificate: &str) -> Presented {
    Presented {
        tls: Some(Arc::new(TlsFacts {
            version: "1.3",
            cipher_suite: "TLS_AES_128_GCM_SHA256".into(),
            peer_certificates: vec![examples::der(certificate)],
            first: false,
        })),
        ..nobody()
    }
}

fn user(name: &str, pass: Option<&str>) -> UserDefinition {
    UserDefinition {
        name: Some(name.into()),
        pass: pass.and_then(secret),
        ..UserDefinition::default()
    }
}

fn nkey_user(byte: u8) -> UserDefinition {
    UserDefinition {
        nkey: Some(key(KeyKind::User, byte).public().to_string()),
        ..UserDefinition::default()
    }
}

fn in_account(mut user: UserDefinition, account: &str) -> UserDefinition {
    user.account = Some(account.into());
    user
}

fn with_users(users: Vec<UserDefinition>) -> AuthDefinition {
    AuthDefinition {
        users,
        ..AuthDefinition::default()
    }
}

fn gate(definition: &AuthDefinition) -> Gate {
    Gate::new(definition).expect("it is sound")
}

/// `account label` of who is let in, or what else is the answer.
fn answer(gate: &Gate, accounts: &dyn Accounts, presented: &Presented) -> String {
    match gate.decide(accounts, presented, NOW) {
        Outcome::Admitted(a) => {
            // Connections by other listeners, of which there are none, are judged when they come.
            if presented.connection_type == ConnectionType::Standard {
                let still = gate.still_admits(accounts, &a, NOW).map(drop);
                assert_eq!(still, Ok(()), "{a:?}");
            }
            format!("{} {}", a.account_name, a.label.unwrap_or_default())
        }
        Outcome::Refused(refused, _) => format!("{refused:?}"),
        Outcome::NeedsAccount(key) => format!("needs {key}"),
        Outcome::NeedsCallout(need) => format!("asks in {}", need.account_name),
    }
}

const NO: &str = "Credentials";

#[test]
fn means_of_the_configuration() {
    let token = AuthDefinition {
        token: secret("t"),
        ..AuthDefinition::default()
    };
    let hashed_token = AuthDefinition {
        token: secret(HASH),
        ..AuthDefinition::default()
    };
    let single = AuthDefinition {
        user: Some("a".into()),
        pass: secret("b"),
        ..AuthDefinition::default()
    };
    let hashed_single = AuthDefinition {
        user: Some("a".into()),
        pass: secret(HASH),
        ..AuthDefinition::default()
    };
    let users = with_users(vec![
        user("plain", Some("p")),
        in_account(user("hashed", Some(HASH)), "A"),
        in_account(nkey_user(1), "B"),
        user("bare", None),
    ]);
    let lookalike = Presented {
        nkey: by_nkey(1, NONCE).nkey,
        ..by_password("plain", "p")
    };
    let standard_base64 = Presented {
        sig: Some(
            BASE64
                .encode(&key(KeyKind::User, 1).sign(NONCE.as_bytes()))
                .into(),
        ),
        ..by_nkey(1, NONCE)
    };
    let no_nonce = Presented {
        nonce: "".into(),
        ..by_nkey(1, "")
    };
    let nkey_1 = format!("B nkey:{}", key(KeyKind::User, 1).public());
    let user_and_token = Presented {
        token: secret("t"),
        ..by_password("u", "p")
    };
    let open = AuthDefinition::default();
    let cases: Vec<(&AuthDefinition, Presented, &str, bool)> = vec![
        (&open, nobody(), "$G ", true),
        (&open, by_password("x", "y"), "$G user:x", true),
        (&open, by_token("x"), "$G token", true),
        (&token, by_token("t"), "$G token", true),
        (&token, user_and_token, "$G token", true),
        (&token, by_token("T"), NO, true),
        (&token, by_token(""), NO, true),
        (&token, nobody(), NO, true),
        (&token, by_password("", "t"), NO, true),
        // Whoever presents nothing causes no work.
        (&hashed_token, nobody(), NO, true),
        (&hashed_single, nobody(), NO, true),
        (
            &hashed_single,
            by_password("a", "s3cr3t"),
            "$G user:a",
            false,
        ),
        (&hashed_token, by_token("s3cr3t"), "$G token", false),
        (&hashed_token, by_token(HASH), NO, false),
        (&single, by_password("a", "b"), "$G user:a", true),
        (&single, by_password("a", "c"), NO, true),
        (&single, by_password("A", "b"), NO, true),
        (&single, by_token("b"), NO, true),
        (&single, nobody(), NO, true),
        (&users, by_password("plain", "p"), "$G user:plain", true),
        (&users, by_password("plain", "P"), NO, true),
        (&users, by_password("plain", ""), NO, true),
        (
            &users,
            by_password("hashed", "s3cr3t"),
            "A user:hashed",
            false,
        ),
        (&users, by_password("hashed", HASH), NO, false),
        // As slow as one that exists.
        (&users, by_password("none", "s3cr3t"), NO, false),
        // A user without password, where no certificates count.
        (&users, by_password("bare", ""), "$G user:bare", true),
        (&users, by_password("bare", "x"), NO, true),
        (&users, nobody(), NO, true),
        (&users, by_token("p"), NO, true),
        (&users, by_nkey(1, NONCE), &nkey_1, false),
        (&users, standard_base64, &nkey_1, false),
        (&users, by_nkey(1, "another nonce"), NO, false),
        (&users, no_nonce, NO, false),
        (&users, by_nkey(2, NONCE), NO, false),
        // A known key without a signature does not become the user of the password.
        (&users, lookalike, NO, false),
    ];
    for (definition, presented, expected, cheap) in cases {
        let gate = gate(definition);
        assert_eq!(gate.is_required(), *definition != open);
        assert_eq!(
            answer(&gate, &configured(), &presented),
            expected,
            "{presented:?}"
        );
        assert_eq!(gate.is_cheap(&presented), cheap, "{presented:?}");
    }
    assert!(gate(&users).needs_nonce() && !gate(&single).needs_nonce());
}

/// Anything with credentials configured, in any combination: nobody gets in without.
#[test]
fn anonymous_is_refused_wherever_something_is_configured() {
    let users = [
        user("u", Some("p")),
        user("v", Some(HASH)),
        in_account(user("s", Some("p")), "$SYS"),
        nkey_user(1),
        in_account(nkey_user(2), "$SYS"),
        user("bare", None),
    ];
    let operator = vectors::OPERATOR_TOKEN.to_owned();
    for bits in 1_u32..1 << 10 {
        let has = |bit: u32| bits & 1 << bit != 0;
        let chosen = (0..6).filter(|&bit| has(bit));
        let mut definition = with_users(chosen.map(|bit| users[bit as usize].clone()).collect());
        definition.token = secret("t").filter(|_| has(6));
        definition.user = Some("single".to_owned()).filter(|_| has(7));
        definition.pass = definition.user.as_ref().and_then(|_| secret("p"));
        definition.map_certificates = has(8);
        if has(9) {
            definition.operators.push(operator.clone());
        }
        let Ok(gate) = Gate::new(&definition) else {
            assert!(has(9) && bits & 0x3f != 0, "{definition:?}");
            continue;
        };
        let something = bits & !(1 << 8) != 0;
        assert_eq!(gate.is_required(), something);
        let empty = Presented {
            user: Some("".into()),
            pass: secret(""),
            token: secret(""),
            nkey: Some("".into()),
            jwt: Some("".into()),
            sig: Some("".into()),
            ..nobody()
        };
        for presented in [nobody(), empty] {
            let outcome = gate.decide(&configured(), &presented, NOW);
            let admitted = matches!(outcome, Outcome::Admitted(_));
            assert_eq!(admitted, !something, "{definition:?} {outcome:?}");
        }
    }
}

#[test]
fn who_presents_nothing_may_be_somebody() {
    let mut named = with_users(vec![
        user("u", Some("p")),
        user("v", Some(HASH)),
        nkey_user(1),
    ]);
    for (name, expected) in [("u", "$G user:u"), ("v", "$G user:v")] {
        named.no_auth_user = Some(name.into());
        let gate = gate(&named);
        assert!(gate.is_required());
        assert_eq!(answer(&gate, &configured(), &nobody()), expected);
        assert!(gate.is_cheap(&nobody()));
        for wrong in [
            by_password("x", ""),
            by_password(name, "q"),
            by_token("t"),
            by_password("", "p"),
        ] {
            assert_eq!(answer(&gate, &configured(), &wrong), NO, "{wrong:?}");
        }
    }
    let nkey = key(KeyKind::User, 1).public().to_string();
    named.no_auth_user = Some(nkey.clone());
    assert_eq!(
        answer(&gate(&named), &configured(), &nobody()),
        format!("$G nkey:{nkey}")
    );
    named.no_auth_user = Some("none".into());
    assert!(Gate::new(&named).is_err());

    // It passes the same checks as everybody (GHSA-hmmp).
    named.no_auth_user = Some("u".into());
    named.users[0].connection_types = Some(BTreeSet::from([ConnectionType::Websocket]));
    assert_eq!(answer(&gate(&named), &configured(), &nobody()), NO);
    named.users[0].connection_types = None;
    named.users[0].proxy_required = true;
    assert_eq!(
        answer(&gate(&named), &configured(), &nobody()),
        "ProxyRequired"
    );
}

#[test]
fn connection_types() {
    let mut definition = with_users(vec![user("u", Some("p")), nkey_user(1)]);
    for user in &mut definition.users {
        user.connection_types = Some(BTreeSet::from([
            ConnectionType::Mqtt,
            ConnectionType::InProcess,
        ]));
    }
    let gate = gate(&definition);
    for (kind, _) in ConnectionType::ALL {
        let allowed = matches!(kind, ConnectionType::Mqtt | ConnectionType::InProcess);
        for mut presented in [by_password("u", "p"), by_nkey(1, NONCE)] {
            presented.connection_type = kind;
            let admitted = answer(&gate, &configured(), &presented).starts_with("$G");
            assert_eq!(admitted, allowed, "{kind:?}");
        }
    }
}

#[test]
fn proxies() {
    let proxy = key(KeyKind::User, 9);
    let signed = |nonce: &str| Some(BASE64URL_NOPAD.encode(&proxy.sign(nonce.as_bytes())).into());
    let via = |presented: Presented, sig: Option<Box<str>>| Presented {
        proxy_sig: sig,
        ..presented
    };
    let mut definition = with_users(vec![user("u", Some("p")), user("free", Some("p"))]);
    definition.users[0].proxy_required = true;
    definition.proxies = vec![proxy.public().to_string()];
    let ours = gate(&definition);
    assert!(ours.needs_nonce());
    let cases = [
        (by_password("u", "p"), None, "ProxyRequired"),
        (by_password("u", "p"), signed(NONCE), "$G user:u"),
        (by_password("u", "q"), signed(NONCE), NO),
        (by_password("u", "p"), signed("other"), "ProxyNotTrusted"),
        (by_password("u", "p"), Some("!".into()), "ProxyNotTrusted"),
        (by_password("free", "p"), None, "$G user:free"),
        (by_password("free", "p"), signed("other"), "ProxyNotTrusted"),
    ];
    for (presented, sig, expected) in cases {
        let presented = via(presented, sig);
        assert_eq!(
            answer(&ours, &configured(), &presented),
            expected,
            "{presented:?}"
        );
    }
    definition.proxy_required = true;
    let all = gate(&definition);
    assert_eq!(
        answer(&all, &configured(), &by_password("free", "p")),
        "ProxyRequired"
    );
    // Nobody is trusted: the signature says nothing.
    definition.proxies.clear();
    let none = gate(&definition);
    let presented = via(by_password("u", "p"), signed(NONCE));
    assert_eq!(answer(&none, &configured(), &presented), "ProxyRequired");
    definition.proxies = vec![vectors::CURVE_9.to_owned()];
    assert!(Gate::new(&definition).is_err());
}

#[test]
fn certificates() {
    let text = r"SERIALNUMBER=7,CN=bob,OU=Dev+OU=Ops,O=Acme\, Inc.";
    let cases: Vec<(&str, &str, bool)> = vec![
        ("bob@example.org", examples::NAMES, true),
        ("alice@example.org", examples::NAMES, true),
        ("app.example.org", examples::NAMES, true),
        ("spiffe://example.org/app", examples::NAMES, true),
        ("CN=Somebody", examples::NAMES, true),
        ("Somebody", examples::NAMES, false),
        ("10.0.0.1", examples::NAMES, false),
        (
            "CN=www.example.org,OU=Unit,O=Acme,C=US",
            examples::PLAIN,
            true,
        ),
        (
            "C=US,O=Acme,OU=Unit,CN=www.example.org",
            examples::PLAIN,
            true,
        ),
        (
            "OU=Unit,O=Acme,C=US,CN=www.example.org",
            examples::PLAIN,
            true,
        ),
        ("CN=www.example.org,O=Acme,C=US", examples::PLAIN, false),
        (
            "cn=www.example.org, ou=Unit, o=Acme, c=US",
            examples::PLAIN,
            true,
        ),
        (text, examples::STEPS, true),
        (
            r"SERIALNUMBER=7,CN=bob,OU=Dev+OU=Ops,O=Acme\, Inc.,DC=org,DC=example",
            examples::STEPS,
            true,
        ),
        (
            r"CN=bob+serialNumber=7,O=Acme\, Inc.,OU=Ops,OU=Dev,DC=example,DC=org",
            examples::STEPS,
            true,
        ),
        ("CN=odd,O=Acme,C=US", examples::ODD, true),
        ("x@y.z", examples::ODD, false),
        ("", examples::NOBODY, false),
    ];
    for (name, certificate, expected) in cases {
        let mut definition = with_users(vec![user(name, None)]);
        definition.map_certificates = true;
        let gate = gate(&definition);
        assert!(gate.tls_maps());
        let presented = by_certificate(certificate);
        assert!(!gate.is_cheap(&presented));
        let admitted = answer(&gate, &configured(), &presented).starts_with("$G");
        assert_eq!(admitted, expected, "{name}");
        // With the name alone nobody is let in, on whatever listener.
        for (kind, _) in ConnectionType::ALL {
            let presented = Presented {
                connection_type: kind,
                ..by_password(name, "")
            };
            assert_eq!(
                answer(&gate, &configured(), &presented),
                NO,
                "{name} {kind:?}"
            );
        }
    }
    // A password, where there is one, is asked for as well; types count before the choice.
    let mut definition = with_users(vec![
        user("bob@example.org", Some("p")),
        in_account(user("alice@example.org", None), "A"),
    ]);
    definition.map_certificates = true;
    assert_eq!(
        answer(
            &gate(&definition),
            &configured(),
            &by_certificate(examples::NAMES)
        ),
        NO
    );
    let with_pass = Presented {
        pass: secret("p"),
        ..by_certificate(examples::NAMES)
    };
    assert_eq!(
        answer(&gate(&definition), &configured(), &with_pass),
        "$G user:bob@example.org"
    );
    definition.users[0].connection_types = Some(BTreeSet::from([ConnectionType::Mqtt]));
    assert_eq!(
        answer(
            &gate(&definition),
            &configured(),
            &by_certificate(examples::NAMES)
        ),
        "A user:alice@example.org"
    );
}

#[test]
fn what_is_not_sound() {
    let operators = |definition: AuthDefinition| AuthDefinition {
        operators: vec![vectors::OPERATOR_TOKEN.to_owned()],
        ..definition
    };
    let callout = |issuer: &str, xkey: Option<&str>| AuthDefinition {
        callout: Some(CalloutDefinition {
            issuer: issuer.into(),
            account: "AUTH".into(),
            users: vec!["auth".into()],
            xkey: xkey.map(str::to_owned),
            allowed_accounts: Vec::new(),
        }),
        ..AuthDefinition::default()
    };
    let cases = [
        with_users(vec![user("a", None), user("a", Some("x"))]),
        with_users(vec![nkey_user(1), nkey_user(1)]),
        with_users(vec![UserDefinition::default()]),
        with_users(vec![UserDefinition {
            nkey: Some(ACCOUNT.into()),
            ..UserDefinition::default()
        }]),
        operators(with_users(vec![user("a", Some("b"))])),
        operators(callout(ACCOUNT, None)),
        AuthDefinition {
            token: secret(""),
            ..AuthDefinition::default()
        },
        AuthDefinition {
            user: Some(String::new()),
            ..AuthDefinition::default()
        },
        callout("A", None),
        callout(ACCOUNT, Some(ACCOUNT)),
        AuthDefinition {
            default_sentinel: secret("x"),
            ..AuthDefinition::default()
        },
        operators(AuthDefinition {
            default_sentinel: secret("x"),
            ..AuthDefinition::default()
        }),
        operators(AuthDefinition {
            pinned_accounts: vec![USER.into()],
            ..AuthDefinition::default()
        }),
        AuthDefinition {
            trusted_keys: vec![ACCOUNT.into()],
            ..AuthDefinition::default()
        },
    ];
    for definition in cases {
        assert!(Gate::new(&definition).is_err(), "{definition:?}");
    }
}

#[test]
fn permissions_are_made_once_and_changes_show() {
    let mut definition = with_users(vec![in_account(user("u", Some("p")), "A")]);
    definition.users[0].permissions = Some(PermissionRules {
        publish: SubjectRules {
            allow: Some(vec!["a.*".into()]),
            deny: Vec::new(),
        },
        ..PermissionRules::default()
    });
    let before = gate(&definition);
    let admit = |gate: &Gate| match gate.decide(&configured(), &by_password("u", "p"), NOW) {
        Outcome::Admitted(admission) => admission,
        other => panic!("{other:?}"),
    };
    let (one, two) = (admit(&before), admit(&before));
    let permissions = |a: &Admission| a.permissions.clone().expect("it has some");
    assert!(Arc::ptr_eq(&permissions(&one), &permissions(&two)));
    let now = |definition: &AuthDefinition| {
        let standing = gate(definition).still_admits(&configured(), &one, NOW);
        standing.map(|standing| matches!(standing, Standing::Changed(_)))
    };
    assert_eq!(now(&definition), Ok(false));
    let mut freed = definition.clone();
    freed.users[0].permissions = None;
    assert_eq!(now(&freed), Ok(true));
    assert_eq!(
        before.still_admits(&accounts(&["$G"]), &one, NOW).map(drop),
        Err(Refused::Moved)
    );
    type Change = fn(&mut AuthDefinition);
    let changes: [(Change, Refused); 5] = [
        (|d| d.users[0].pass = secret("q"), Refused::Credentials),
        (
            |d| d.users[0].connection_types = Some([ConnectionType::Websocket].into()),
            Refused::Credentials,
        ),
        (|d| d.users[0].account = Some("B".into()), Refused::Moved),
        (|d| d.users[0].name = Some("v".into()), Refused::Moved),
        (|d| d.users.clear(), Refused::Moved),
    ];
    for (change, refused) in changes {
        let mut changed = definition.clone();
        change(&mut changed);
        assert_eq!(now(&changed), Err(refused), "{changed:?}");
    }
    let Outcome::Admitted(open) = Gate::default().decide(&configured(), &nobody(), NOW) else {
        panic!("it is open");
    };
    assert_eq!(
        Gate::default()
            .still_admits(&configured(), &open, NOW)
            .map(drop),
        Ok(())
    );
    assert_eq!(
        before.still_admits(&configured(), &open, NOW).map(drop),
        Err(Refused::Credentials)
    );
    definition.users[0].account = Some("nowhere".into());
    assert_eq!(
        answer(&gate(&definition), &configured(), &by_password("u", "p")),
        NO
    );
}
