//! Canonical JSON (RFC 8785): keys in the order of their UTF-16 code units, no white space,
//! so that the same value always has the same bytes.

use serde_json::Value;

/// A value's canonical text. Numbers must be whole; entries hold no others.
pub fn canonical_json(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                write(item, text);
            }
            text.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
            text.push('{');
            for (position, (key, item)) in members.into_iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                string(key, text);
                text.push(':');
                write(item, text);
            }
            text.push('}');
        }
        Value::String(content) => string(content, text),
        Value::Null | Value::Bool(_) | Value::Number(_) => text.push_str(&value.to_string()),
    }
}

/// A string as ECMAScript's `JSON.stringify` writes it, which is what RFC 8785 asks for and
/// what `serde_json` does.
fn string(content: &str, text: &mut String) {
    text.push_str(&Value::from(content).to_string());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_sorted_by_utf_16_and_nothing_is_between() {
        // RFC 8785, 3.2.3.
        let value = json!({
            "\u{20ac}": "Euro Sign",
            "\r": "Carriage Return",
            "\u{fb33}": "Hebrew Letter Dalet With Dagesh",
            "1": "One",
            "\u{1f600}": "Emoji: Grinning Face",
            "\u{80}": "Control",
            "\u{f6}": "Latin Small Letter O With Diaeresis",
        });
        assert_eq!(
            canonical_json(&value),
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\
             \"\u{f6}\":\"Latin Small Letter O With Diaeresis\",\"\u{20ac}\":\"Euro Sign\",\
             \"\u{1f600}\":\"Emoji: Grinning Face\",\
             \"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}"
        );
    }

    #[test]
    fn a_value_and_its_canonical_text_say_the_same() {
        let value = json!({"b": [1, -2, null, true, {"z": "\u{1}\"\\/\n", "a": []}], "a": {}});
        let text = canonical_json(&value);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        assert_eq!(
            text,
            r#"{"a":{},"b":[1,-2,null,true,{"a":[],"z":"\u0001\"\\/\n"}]}"#
        );
    }
}
