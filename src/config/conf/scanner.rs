//! Characters of one text, with lines and columns counted as nats-server does. Knows no grammar.

/// Stands for the end of the text; as in nats-server, so does a NUL in it.
pub const END: char = '\0';

pub struct Scanner<'t> {
    text: &'t str,
    at: usize,
    line: usize,
    /// Offset of the line feed before this line; 0 in the first line.
    line_start: usize,
}

/// A position to come back to in an error.
#[derive(Clone, Copy)]
pub struct Mark {
    pub line: usize,
    pub column: usize,
}

impl<'t> Scanner<'t> {
    pub fn new(text: &'t str) -> Scanner<'t> {
        Scanner {
            text,
            at: 0,
            line: 1,
            line_start: 0,
        }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    /// The text from an earlier [`Scanner::at`] to here.
    pub fn since(&self, start: usize) -> &'t str {
        &self.text[start..self.at]
    }

    pub fn line(&self) -> usize {
        self.line
    }

    pub fn mark(&self) -> Mark {
        Mark {
            line: self.line,
            column: self.at - self.line_start,
        }
    }

    pub fn peek(&self) -> char {
        self.text[self.at..].chars().next().unwrap_or(END)
    }

    /// The character after the next one.
    pub fn peek_second(&self) -> char {
        self.text[self.at..].chars().nth(1).unwrap_or(END)
    }

    pub fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// Takes one character; at the end it stays there and is [`END`].
    pub fn next(&mut self) -> char {
        let Some(character) = self.text[self.at..].chars().next() else {
            return END;
        };
        if character == '\n' {
            self.line += 1;
            self.line_start = self.at;
        }
        self.at += character.len_utf8();
        character
    }

    pub fn skip_while(&mut self, skipped: impl Fn(char) -> bool) {
        while !self.is_at_end() && skipped(self.peek()) {
            self.next();
        }
    }

    /// Whether a comment starts here.
    pub fn is_at_comment(&self) -> bool {
        self.peek() == '#' || (self.peek() == '/' && self.peek_second() == '/')
    }

    /// Takes the rest of the line, without its end.
    pub fn skip_comment(&mut self) {
        self.skip_while(|character| !is_newline(character) && character != END);
    }
}

pub fn is_newline(character: char) -> bool {
    character == '\n' || character == '\r'
}

pub fn is_blank(character: char) -> bool {
    character == ' ' || character == '\t'
}

pub fn is_separator(character: char) -> bool {
    character == '=' || character == ':'
}
