//! Reading fields of parsed JSON, with names in the errors. What is missing or `null` is the
//! field's zero, as in the library that writes most tokens; what has another type is an error.

use serde_json::{Map, Value};

use super::ClaimsError;

/// One JSON object.
#[derive(Clone, Copy)]
pub struct Fields<'a>(Option<&'a Map<String, Value>>);

type Read<T> = Result<T, ClaimsError>;

impl<'a> Fields<'a> {
    /// The object that `value` is.
    pub fn of(value: &'a Value, name: &'static str) -> Read<Self> {
        match value {
            Value::Object(map) => Ok(Self(Some(map))),
            _ => Err(ClaimsError::Field(name)),
        }
    }

    /// The value of a field; `None` if it is missing or `null`.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.0?.get(name).filter(|value| !value.is_null())
    }

    /// All fields with their names.
    pub fn entries(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.0.into_iter().flatten()
    }

    pub fn text(&self, name: &'static str) -> Read<String> {
        match self.get(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(ClaimsError::Field(name)),
        }
    }

    pub fn flag(&self, name: &'static str) -> Read<bool> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(ClaimsError::Field(name)),
        }
    }

    pub fn integer(&self, name: &'static str) -> Read<i64> {
        self.integer_or(name, 0)
    }

    pub fn integer_or(&self, name: &'static str, missing: i64) -> Read<i64> {
        match self.get(name) {
            None => Ok(missing),
            Some(value) => value.as_i64().ok_or(ClaimsError::Field(name)),
        }
    }

    /// A limit: negative for none.
    pub fn limit_or(&self, name: &'static str, missing: i64) -> Read<Option<u64>> {
        Ok(u64::try_from(self.integer_or(name, missing)?).ok())
    }

    pub fn limit(&self, name: &'static str) -> Read<Option<u64>> {
        self.limit_or(name, 0)
    }

    /// A list of anything.
    pub fn list(&self, name: &'static str) -> Read<&'a [Value]> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(_) => Err(ClaimsError::Field(name)),
        }
    }

    /// A list of texts.
    pub fn texts(&self, name: &'static str) -> Read<Vec<String>> {
        self.list(name)?
            .iter()
            .map(|value| match value {
                Value::String(text) => Ok(text.clone()),
                _ => Err(ClaimsError::Field(name)),
            })
            .collect()
    }

    /// An object; one without fields if it is missing.
    pub fn object(&self, name: &'static str) -> Read<Fields<'a>> {
        Ok(self.object_option(name)?.unwrap_or(Fields(None)))
    }

    pub fn object_option(&self, name: &'static str) -> Read<Option<Fields<'a>>> {
        self.get(name)
            .map(|value| Fields::of(value, name))
            .transpose()
    }
}
