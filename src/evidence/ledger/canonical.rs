//! Canonical JSON (RFC 8785): keys in the order of their UTF-16 code units, no white space,
//! so that the same value always has the same bytes.
//!
//! Entries hold whole numbers only, small enough that every reader of JSON keeps them exact.
//! Anything else is refused, so no rule for printing broken numbers is needed.

use serde_json::{Number, Value};

/// The largest whole number that a double keeps exact (RFC 7493, 2.2).
const MAX_INTEGER: u64 = (1 << 53) - 1;

/// The deepest nesting. Readers of JSON commonly stop at 128.
const MAX_DEPTH: usize = 64;

/// A value without a canonical text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalError {
    /// A number with a fraction or an exponent.
    #[error("{0} is not a whole number (write milliseconds, bytes, or text)")]
    Fraction(String),
    /// A number that a reader may round.
    #[error("{0} is beyond ±9007199254740991, so readers may round it (write it as text)")]
    TooLarge(String),
    /// Lists in lists in lists.
    #[error("values are nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

/// A value's canonical text.
pub fn canonical_json(value: &Value) -> Result<String, CanonicalError> {
    let mut text = String::new();
    write(value, 0, &mut text)?;
    Ok(text)
}

fn write(value: &Value, depth: usize, text: &mut String) -> Result<(), CanonicalError> {
    if depth > MAX_DEPTH {
        return Err(CanonicalError::TooDeep);
    }
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        Value::Number(number) => whole(number, text)?,
        Value::String(content) => string(content, text),
        Value::Array(items) => {
            text.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                write(item, depth + 1, text)?;
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
                write(item, depth + 1, text)?;
            }
            text.push('}');
        }
    }
    Ok(())
}

fn whole(number: &Number, text: &mut String) -> Result<(), CanonicalError> {
    let shown = number.to_string();
    let size = match (number.as_u64(), number.as_i64()) {
        (Some(size), _) => size,
        (None, Some(negative)) => negative.unsigned_abs(),
        (None, None) => return Err(CanonicalError::Fraction(shown)),
    };
    if size > MAX_INTEGER {
        return Err(CanonicalError::TooLarge(shown));
    }
    text.push_str(&shown);
    Ok(())
}

/// A string as ECMAScript's `JSON.stringify` writes it (RFC 8785, 3.2.2.2).
fn string(content: &str, text: &mut String) {
    text.push('"');
    for letter in content.chars() {
        match letter {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\u{8}' => text.push_str("\\b"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\u{c}' => text.push_str("\\f"),
            '\r' => text.push_str("\\r"),
            control if control < ' ' => {
                let code = u32::from(control);
                text.push_str("\\u00");
                for digit in [code >> 4, code & 0xf] {
                    text.extend(char::from_digit(digit, 16));
                }
            }
            other => text.push(other),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_sorted_by_utf_16_and_nothing_is_between() {
        // RFC 8785, 3.2.3.
        let value: Value = serde_json::from_str(
            r#"{
              "\u20ac": "Euro Sign",
              "\r": "Carriage Return",
              "\ufb33": "Hebrew Letter Dalet With Dagesh",
              "1": "One",
              "\ud83d\ude00": "Emoji: Grinning Face",
              "\u0080": "Control",
              "\u00f6": "Latin Small Letter O With Diaeresis"
            }"#,
        )
        .unwrap();
        assert_eq!(
            canonical_json(&value).unwrap(),
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\
             \"\u{f6}\":\"Latin Small Letter O With Diaeresis\",\"\u{20ac}\":\"Euro Sign\",\
             \"\u{1f600}\":\"Emoji: Grinning Face\",\
             \"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}"
        );
    }

    #[test]
    fn strings_and_literals_are_those_of_the_standard() {
        // RFC 8785, 3.2.2, without its numbers, and the bytes of 3.2.4.
        let value: Value = serde_json::from_str(
            r#"{
              "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
              "literals": [null, true, false]
            }"#,
        )
        .unwrap();
        let text = canonical_json(&value).unwrap();
        let bytes = [
            &b"{\"literals\":[null,true,false],\"string\":\""[..],
            b"\xe2\x82\xac$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}",
        ]
        .concat();
        assert_eq!(text.as_bytes(), bytes);
    }

    #[test]
    fn every_control_character_has_one_spelling() {
        let spelled: Vec<String> = (0..0x21_u8)
            .chain([0x7f])
            .map(|code| canonical_json(&json!(char::from(code).to_string())).unwrap())
            .collect();
        assert_eq!(spelled[0x00], r#""\u0000""#);
        assert_eq!(spelled[0x08], r#""\b""#);
        assert_eq!(spelled[0x09], r#""\t""#);
        assert_eq!(spelled[0x0a], r#""\n""#);
        assert_eq!(spelled[0x0b], r#""\u000b""#);
        assert_eq!(spelled[0x0c], r#""\f""#);
        assert_eq!(spelled[0x0d], r#""\r""#);
        assert_eq!(spelled[0x1f], r#""\u001f""#);
        assert_eq!(spelled[0x20], "\" \"");
        assert_eq!(spelled[0x21], "\"\u{7f}\"");
    }

    #[test]
    fn numbers_that_readers_may_change_are_refused() {
        for number in ["1.5", "1.0", "1e2", "-0.0", "-0"] {
            let value: Value = serde_json::from_str(&format!("{{\"a\":[{number}]}}")).unwrap();
            assert!(
                matches!(canonical_json(&value), Err(CanonicalError::Fraction(_))),
                "{number}"
            );
        }
        for exact in [
            MAX_INTEGER.to_string(),
            format!("-{MAX_INTEGER}"),
            "0".to_owned(),
        ] {
            let value: Value = serde_json::from_str(&exact).unwrap();
            assert_eq!(canonical_json(&value).unwrap(), exact);
        }
        for large in [
            "9007199254740992",
            "-9007199254740992",
            "18446744073709551615",
        ] {
            let value: Value = serde_json::from_str(large).unwrap();
            assert_eq!(
                canonical_json(&value),
                Err(CanonicalError::TooLarge(large.to_owned()))
            );
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |depth| (0..depth).fold(json!(1), |inner, _| json!([inner]));
        assert!(canonical_json(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(
            canonical_json(&nested(MAX_DEPTH + 1)),
            Err(CanonicalError::TooDeep)
        );
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-(1_i64 << 53) + 1..1_i64 << 53).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_value_and_its_canonical_text_say_the_same(value in any_value()) {
            let text = canonical_json(&value).unwrap();
            let read: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&read, &value);
            prop_assert_eq!(canonical_json(&read).unwrap(), text);
        }
    }
}
