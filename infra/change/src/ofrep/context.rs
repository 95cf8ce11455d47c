//! The context that an OpenFeature SDK sends.
//!
//! Owns which of its fields are which of Unleash's. Leaves evaluation to [`crate::toggle`].
//! Invariant: a context that cannot be understood is an error, never evaluated as if it were empty.

use std::collections::HashMap;

use serde_json::Value;

use crate::toggle::Context;

/// What one request asks with, every value as text.
#[derive(Debug, Default)]
pub(super) struct Asked {
    user_id: Option<String>,
    session_id: Option<String>,
    remote_address: Option<String>,
    environment: Option<String>,
    app_name: Option<String>,
    current_time: Option<String>,
    properties: HashMap<String, String>,
}

/// An error code of OFREP and its details.
type Error = (&'static str, String);

impl Asked {
    /// Reads the body of a request: `{"context":{...}}`, or nothing for no context.
    ///
    /// `targetingKey` is userId; `sessionId`, `remoteAddress`, `environment`, `appName` and
    /// `currentTime` are the fields of these names and must be strings. Every other key is a
    /// property: strings, numbers and booleans as text; null, lists and objects are no properties,
    /// since no constraint can be about them.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Error> {
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let body: Value = serde_json::from_slice(body)
            .map_err(|error| ("PARSE_ERROR", format!("the body is not JSON: {error}")))?;
        let Value::Object(mut body) = body else {
            let expected = "expected an object such as {\"context\":{\"targetingKey\":\"42\"}}";
            return Err(("PARSE_ERROR", format!("{expected}, found {}", kind(&body))));
        };
        match body.remove("context") {
            None | Some(Value::Null) => Ok(Self::default()),
            Some(Value::Object(context)) => Self::from_context(context),
            Some(other) => {
                Err(("INVALID_CONTEXT", format!("context: expected an object, found {}", kind(&other))))
            }
        }
    }

    pub(super) fn context(&self) -> Context<'_> {
        Context {
            user_id: self.user_id.as_deref(),
            session_id: self.session_id.as_deref(),
            remote_address: self.remote_address.as_deref(),
            environment: self.environment.as_deref(),
            app_name: self.app_name.as_deref(),
            current_time: self.current_time.as_deref(),
            properties: &self.properties,
        }
    }

    fn from_context(context: serde_json::Map<String, Value>) -> Result<Self, Error> {
        let mut asked = Self::default();
        for (name, value) in context {
            let field = match name.as_str() {
                "targetingKey" => &mut asked.user_id,
                "sessionId" => &mut asked.session_id,
                "remoteAddress" => &mut asked.remote_address,
                "environment" => &mut asked.environment,
                "appName" => &mut asked.app_name,
                "currentTime" => &mut asked.current_time,
                _ => {
                    if let Some(text) = text(value) {
                        asked.properties.insert(name, text);
                    }
                    continue;
                }
            };
            *field = match value {
                Value::Null => None,
                Value::String(text) => Some(text),
                other => {
                    let details = format!("context.{name}: expected a string, found {}", kind(&other));
                    return Err(("INVALID_CONTEXT", details));
                }
            };
        }
        Ok(asked)
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
