//! Whether what clients were told of a stream's life can be true: some order of what they asked for must
//! give just these answers, and have nothing happen before it was asked for or after it was answered.

use std::collections::HashSet;

/// A stream that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Life {
    /// When it was made, as the server says, by number; `None` while nobody has seen it.
    pub created: Option<u32>,
    /// Its configuration, and what an update has written into it.
    pub variant: u32,
    pub mark: u64,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Create {
        variant: u32,
    },
    Update {
        variant: u32,
        mark: u64,
    },
    Delete,
    /// Its info.
    See,
    /// Anything that only a stream that is there can answer.
    Use,
    /// The server begins anew; streams of these variants are in memory.
    Restart {
        memory: u32,
    },
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing, and nothing will be: it may have happened or not.
    Lost,
    Is(Life),
    /// It is deleted, or was there to be used.
    Done,
    Absent,
    /// Of that name there is another one.
    Taken,
    /// It does not change like that.
    Refused,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub sent: u64,
    /// When the answer was read.
    pub answered: Option<u64>,
    pub wish: Wish,
    pub answer: Answer,
}

impl Asked {
    /// Whatever it was asked of, that is as it was.
    const fn changes_nothing(&self) -> bool {
        let is_look = matches!(self.wish, Wish::See | Wish::Use);
        is_look
            || matches!(
                self.answer,
                Answer::Absent | Answer::Taken | Answer::Refused
            )
    }
}

type State = Option<Life>;

/// Whether a life that is known by more or less can be that one; gives all that is known.
fn same(known: Life, seen: Life) -> Option<Life> {
    let fits = known.variant == seen.variant
        && known.mark == seen.mark
        && (known.created.is_none() || known.created == seen.created);
    fits.then_some(seen)
}

/// The states after a request that was answered so; none where it cannot have been.
fn after(state: State, asked: &Asked) -> Option<State> {
    let new = |variant| Life {
        created: None,
        variant,
        mark: 0,
    };
    match (asked.wish, asked.answer, state) {
        (Wish::Create { variant }, Answer::Is(life), None) => same(new(variant), life).map(Some),
        (Wish::Create { variant }, Answer::Is(life), Some(known)) => {
            let is_equal = known.variant == variant && known.mark == 0;
            let seen = same(known, life).filter(|_| is_equal);
            seen.map(Some)
        }
        (Wish::Create { variant }, Answer::Taken, Some(known)) => {
            (known.variant != variant || known.mark != 0).then_some(state)
        }
        (Wish::Create { variant }, Answer::Lost, None) => Some(Some(new(variant))),
        (Wish::Update { variant, mark }, Answer::Is(life), Some(known)) => {
            let updated = Life {
                variant,
                mark,
                ..known
            };
            same(updated, life).map(Some)
        }
        (Wish::Update { variant, .. }, Answer::Refused, Some(known)) => {
            (known.variant != variant).then_some(state)
        }
        (Wish::Update { variant, mark }, Answer::Lost, Some(known)) => Some(Some(Life {
            variant,
            mark,
            ..known
        })),
        (Wish::Delete, Answer::Done | Answer::Lost, Some(_)) => Some(None),
        (Wish::See, Answer::Is(life), Some(known)) => same(known, life).map(Some),
        (Wish::Use, Answer::Done, Some(_)) => Some(state),
        (Wish::Restart { memory }, _, _) => {
            Some(state.filter(|life| memory & (1 << life.variant) == 0))
        }
        (Wish::Update { .. } | Wish::Delete | Wish::See | Wish::Use, Answer::Absent, None) => {
            Some(None)
        }
        _ => None,
    }
}

/// Whether there is an order that leads from the one state to the other.
pub fn can_be(begin: State, asked: &[Asked], end: State) -> bool {
    assert!(asked.len() <= 128, "more than can be looked through");
    // Until a deletion is durable, and so answered, nobody else gets the name, and an update is judged by
    // what is being deleted; and an update that is refused at the last moment, because the stream was
    // just deleted, may have had a creation refused as if it had been made.
    let has_two_sides = |one: &&Asked| match one.wish {
        Wish::Update { .. } => !matches!(one.answer, Answer::Is(_)),
        Wish::Delete => matches!(one.answer, Answer::Done | Answer::Lost),
        _ => false,
    };
    let is_excused = |one: &Asked| {
        let excuses = |other: &Asked| match one.answer {
            Answer::Taken => true,
            Answer::Refused => other.wish == Wish::Delete,
            _ => false,
        };
        let mut others = asked.iter().filter(has_two_sides);
        others.any(|other| {
            excuses(other)
                && other.answered.is_none_or(|at| one.sent < at)
                && one.answered.is_none_or(|at| other.sent < at)
        })
    };
    let asked: Vec<Asked> = asked
        .iter()
        .copied()
        .filter(|one| !is_excused(one))
        .collect();
    let asked = &asked[..];
    let mut dead = HashSet::new();
    search(begin, asked, end, 0, &mut dead)
}

fn search(
    state: State,
    asked: &[Asked],
    end: State,
    done: u128,
    dead: &mut HashSet<(u128, State)>,
) -> bool {
    let open = || (0..asked.len()).filter(|&i| done & (1 << i) == 0);
    if open().all(|i| asked[i].answer == Answer::Lost) {
        let reached = match (state, end) {
            (None, None) => true,
            (Some(known), Some(seen)) => same(known, seen).is_some(),
            _ => false,
        };
        if reached {
            return true;
        }
    }
    if !dead.insert((done, state)) {
        return false;
    }
    // Nothing else was over before these were asked for.
    let first = open().filter_map(|i| asked[i].answered).min();
    let is_next = |&i: &usize| first.is_none_or(|first| asked[i].sent <= first);
    let is_lost = |i: usize| asked[i].answer == Answer::Lost;
    // What can be now and never changes anything may as well be now, whatever comes after it.
    let mut idle = open()
        .filter(is_next)
        .filter(|&i| asked[i].changes_nothing());
    if let Some(i) = idle.find(|&i| after(state, &asked[i]) == Some(state)) {
        return search(state, asked, end, done | (1 << i), dead);
    }
    // Of those that got no answer to the same wish, any may be the next.
    let is_first_of_its_kind = |&i: &usize| {
        let mut before = open().filter(is_next).take_while(|&j| j < i);
        !is_lost(i) || !before.any(|j| is_lost(j) && asked[j].wish == asked[i].wish)
    };
    open()
        .filter(is_next)
        .filter(is_first_of_its_kind)
        .any(|i| {
            after(state, &asked[i])
                .is_some_and(|next| search(next, asked, end, done | (1 << i), dead))
        })
}

#[test]
fn an_order_is_found_or_there_is_none() {
    let life = |created, variant| Life {
        created: Some(created),
        variant,
        mark: 0,
    };
    let ask = |sent, answered, wish, answer| Asked {
        sent,
        answered: Some(answered),
        wish,
        answer,
    };
    let create = |variant| Wish::Create { variant };
    // Two that were made at once: one of them is told that there is another.
    let one = ask(1, 10, create(0), Answer::Is(life(7, 0)));
    let two = ask(2, 9, create(1), Answer::Taken);
    assert!(can_be(None, &[one, two], Some(life(7, 0))));
    assert!(!can_be(None, &[one, two], Some(life(7, 1))));
    assert!(!can_be(None, &[one, two], None));
    // After it was answered, nobody is told anything else.
    let late = ask(11, 12, create(1), Answer::Is(life(8, 1)));
    assert!(!can_be(None, &[one, late], Some(life(8, 1))));
    let gone = ask(11, 14, Wish::Delete, Answer::Done);
    let late = ask(12, 13, create(1), Answer::Is(life(8, 1)));
    assert!(can_be(None, &[one, gone, late], Some(life(8, 1))));
    let absent = ask(15, 16, Wish::See, Answer::Absent);
    assert!(!can_be(None, &[one, gone, late, absent], Some(life(8, 1))));
    // What was not answered may have happened.
    let lost = Asked {
        answered: None,
        ..ask(3, 0, create(2), Answer::Lost)
    };
    assert!(can_be(None, &[lost], None));
    assert!(can_be(None, &[lost], Some(life(3, 2))));
    assert!(!can_be(None, &[lost], Some(life(3, 1))));
}
