//! Who answers for packages. Whoever hands them out does, and not the project: so it is told each time, or stands in the
//! environment, where Debian's own tools look for it.

/// What names whoever makes packages, as for Debian's tools.
const NAME: &str = "DEBFULLNAME";
const ADDRESS: &str = "DEBEMAIL";
/// What packages name that are made for the test alone.
pub(super) const NOBODY: &str = "Made for a test <nobody@example.org>";

/// `NAME <ADDRESS>`: as told, or of the environment; `None` where neither says so.
///
/// # Errors
/// A sentence, where it has another form.
pub(super) fn find(
    told: Option<String>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Option<String>, String> {
    if let Some(told) = told {
        return named(&told).map(Some).ok_or_else(|| format!("--maintainer: {told:?} is not {FORM}"));
    }
    let set = |variable| environment(variable).filter(|value| !value.trim().is_empty());
    match (set(NAME), set(ADDRESS)) {
        // It may have both.
        (_, Some(address)) if address.contains('<') => {
            named(&address).map(Some).ok_or_else(|| format!("{ADDRESS}: {address:?} is not {FORM}"))
        }
        (Some(name), Some(address)) => {
            let both = format!("{name} <{address}>");
            named(&both).map(Some).ok_or_else(|| format!("{NAME} and {ADDRESS}: {both:?} is not {FORM}"))
        }
        (Some(_), None) => Err(format!("{NAME} is set and {ADDRESS} is not: set both")),
        (None, Some(_)) => Err(format!("{ADDRESS} is set and {NAME} is not: set both")),
        (None, None) => Ok(None),
    }
}

const FORM: &str = "NAME <ADDRESS>";

/// Without what surrounds it, if it has the form.
fn named(text: &str) -> Option<String> {
    let text = text.trim();
    let (name, address) = text.strip_suffix('>')?.split_once(" <")?;
    let (user, host) = address.split_once('@')?;
    let plain =
        |part: &str| !part.is_empty() && !part.contains(['<', '>', '@']) && !part.contains(char::is_control);
    let closed = |part: &str| plain(part) && !part.contains(char::is_whitespace);
    (plain(name.trim()) && closed(user) && closed(host) && host.contains('.')).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_in(told: Option<&str>, set: &[(&str, &str)]) -> Result<Option<String>, String> {
        let value = |name: &str| set.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned());
        find(told.map(str::to_owned), value)
    }

    #[test]
    fn what_is_told_comes_before_the_environment() {
        let set = [("DEBFULLNAME", "Ada"), ("DEBEMAIL", "ada@example.net")];
        assert_eq!(find_in(Some("Bea <b@example.com>"), &set), Ok(Some("Bea <b@example.com>".to_owned())));
        assert_eq!(find_in(None, &set), Ok(Some("Ada <ada@example.net>".to_owned())));
        let both = [("DEBFULLNAME", "Ada"), ("DEBEMAIL", "Bea <b@example.com>")];
        assert_eq!(find_in(None, &both), Ok(Some("Bea <b@example.com>".to_owned())));
    }

    #[test]
    fn nobody_is_invented() {
        assert_eq!(find_in(None, &[]), Ok(None));
        assert_eq!(find_in(None, &[("DEBFULLNAME", ""), ("DEBEMAIL", " ")]), Ok(None));
        for half in [[("DEBFULLNAME", "Ada")], [("DEBEMAIL", "ada@example.net")]] {
            assert!(find_in(None, &half).unwrap_err().ends_with("set both"), "{half:?}");
        }
    }

    #[test]
    fn what_would_not_be_one_field_with_an_address_is_refused() {
        for text in [
            "",
            "Ada",
            "ada@example.net",
            "<ada@example.net>",
            "Ada <ada>",
            "Ada <ada@host>",
            "Ada <@example.net>",
            "Ada <a da@example.net>",
            "Ada <a@example.net> <b@example.net>",
            "Ada\nDepends: other <a@example.net>",
        ] {
            let said = find_in(Some(text), &[]).unwrap_err();
            assert!(said.starts_with("--maintainer: ") && said.ends_with("is not NAME <ADDRESS>"), "{said}");
        }
        assert_eq!(named(NOBODY).as_deref(), Some(NOBODY));
    }
}
