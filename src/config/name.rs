//! Names that people give to clusters, copies, drills and variables.

/// Schema of a name: letters, digits, `-`, `_`, `.`; it becomes part of file names.
pub(super) struct Name;

/// Schema of the name of an environment variable.
pub(super) struct VariableName;

/// Checks a [`Name`].
pub(super) fn check_name(text: &str) -> Result<(), String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let begins_well = text
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins_well && text.len() <= 63 && text.bytes().all(legal) {
        Ok(())
    } else {
        Err(format!(
            "{text:?} is not a name: it begins with a letter or digit and has at most 63 letters, digits, `-`, `_` and `.`"
        ))
    }
}

/// Checks a [`VariableName`]. Never repeats the text: people put the secret itself here.
pub(super) fn check_variable(text: &str) -> Result<(), String> {
    let begins_well = text
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if begins_well
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        Ok(())
    } else {
        Err(
            "not the name of an environment variable (letters, digits and `_`); the secret itself does not belong here"
                .to_owned(),
        )
    }
}

impl schemars::JsonSchema for Name {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$",
            "description": "A name: letters, digits, `-`, `_` and `.`, beginning with a letter or digit.",
        })
    }
}

impl schemars::JsonSchema for VariableName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "VariableName".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[A-Za-z_][A-Za-z0-9_]*$",
            "description": "The name of an environment variable.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_in_file_names() {
        for good in ["orders", "eu-1.orders_2", "1"] {
            assert_eq!(check_name(good), Ok(()));
        }
        for bad in ["", ".hidden", "a/b", "a b", "-x", "ä", &"x".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_in_place_of_a_variable_is_not_repeated() {
        assert_eq!(check_variable("ORDERS_KEY_1"), Ok(()));
        let error = check_variable("wJalrXUtnFEMI/K7MDENG").unwrap_err();
        assert!(!error.contains("wJalr"), "{error}");
        assert!(check_variable("").is_err());
    }
}
