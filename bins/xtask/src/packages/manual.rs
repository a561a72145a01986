//! The manual page of a program, from what it prints for `--help`.

use std::fmt::Write;

/// In man(7), of section 8; `None` where the text is none that our programs print.
pub(super) fn page(name: &str, purpose: &str, help: &str) -> Option<String> {
    let usage = help.lines().find_map(|line| line.strip_prefix("Usage: ")?.strip_prefix(name))?;
    let mut parts = help.split("\n\n").skip(1);
    let description = parts.next()?;
    let version = env!("CARGO_PKG_VERSION");
    let mut page = format!(
        ".TH {} 8 2026-01-01 \"albatross {version}\" \"System Administration\"\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n\
         \\fB{}\\fR{}\n.SH DESCRIPTION\n{}\n",
        escaped(&name.to_uppercase()),
        escaped(name),
        escaped(purpose),
        escaped(name),
        escaped(usage),
        escaped(description.trim_end()),
    );
    for part in parts {
        let mut lines = part.lines();
        let heading = lines.next()?.strip_suffix(':')?;
        _ = writeln!(page, ".SH {}", escaped(&heading.to_uppercase()));
        for line in lines {
            match entry(line) {
                Some((term, text)) => _ = write!(page, ".TP\n\\fB{}\\fR\n{}", escaped(term), line_of(text)),
                None => page.push_str(&line_of(line.trim())),
            }
        }
    }
    page.push_str(".SH SEE ALSO\n.BR albatross\\-client (1),\n.I /usr/share/doc/albatross/operations.md\n");
    Some(page)
}

/// What begins an entry, and what is said of it in the same line, if anything is.
fn entry(line: &str) -> Option<(&str, &str)> {
    let line = line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?;
    Some(line.split_once("  ").map_or((line, ""), |(term, text)| (term, text.trim())))
}

fn line_of(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{}\n", escaped(text)) }
}

/// What roff would take for something of its own.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_what_the_help_has() {
        let help = "Usage: albatross-x [--dir <DIR>] [-v]\n\nKeeps x.\n\nPositional Arguments:\n  FILE              .files,\n                    \
                    more\n\nOptions:\n  --dir             where\n  --systemd-socket-activation\n                    \
                    serve\n";
        let page = page("albatross-x", "keeps x", help).unwrap();
        for part in [
            ".SH NAME\nalbatross\\-x \\- keeps x\n",
            "\\fBalbatross\\-x\\fR [\\-\\-dir <DIR>] [\\-v]\n",
            ".SH DESCRIPTION\nKeeps x.\n.SH POSITIONAL ARGUMENTS\n.TP\n\\fBFILE\\fR\n\\&.files,\nmore\n",
            ".SH OPTIONS\n.TP\n\\fB\\-\\-dir\\fR\nwhere\n.TP\n\\fB\\-\\-systemd\\-socket\\-activation\\fR\nserve\n",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
        assert_eq!(super::page("albatross-x", "", "something else"), None);
    }
}
