//! The manual page, in man(7).

use super::model::{Flag, Model};

/// The page.
pub(super) fn page(model: &Model) -> String {
    let mut out = format!(
        ".TH ALBATROSS\\-CLIENT 1 2026-01-01 \"albatross {}\" \"User Commands\"\n.SH NAME\nalbatross\\-client \\- \
         commands albatross, here or elsewhere, and is a certificate authority for it\n.SH SYNOPSIS\n\
         .B albatross\\-client\n.RI [ OPTION ].. \" COMMAND \" [ ARGUMENT ]..\n.SH DESCRIPTION\n",
        env!("CARGO_PKG_VERSION"),
    );
    let mut text = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    text(&escaped(&model.description));
    text(
        ".PP\nOptions may stand before or after the command and its arguments, as \\fB\\-\\-option\\fR \\fIVALUE\\fR or \\fB\\-\\-option=\\fR\\fIVALUE\\fR.",
    );
    text(
        "On the host itself a name is whole, path and label: \\fBfoo:hello\\fR. With \\fB\\-\\-destination\\fR and \\fB\\-\\-csr\\fR it is one label, as the path comes from the certificates. Commands may be written with \\fB_\\fR for \\fB\\-\\fR.",
    );
    text(".SH OPTIONS");
    model.options.iter().for_each(|flag| text(&option(flag)));
    text(
        ".TP\n\\fB\\-\\-help\\fR\nSay what there is, of a command too.\n.TP\n\\fB\\-\\-version\\fR\nSay which version this is.",
    );
    text(".SH COMMANDS");
    for command in &model.commands {
        let (name, arguments) = (escaped(&command.name), escaped(&command.arguments()));
        text(&format!(".SS {}", format!("{name} {arguments}").trim_end()));
        text(&escaped(&command.description));
        for it in &command.positionals {
            text(&format!(".TP\n\\fI{}\\fR\n{}.", escaped(&it.name), escaped(&sentence(&it.description))));
        }
        command.options.iter().for_each(|flag| text(&option(flag)));
    }
    text(".SH EXIT STATUS");
    for (code, meaning) in &model.exit_codes {
        text(&format!(".TP\n\\fB{code}\\fR\n{}", escaped(meaning)));
    }
    text(".SH OLDER PROGRAMS\nThe same under other names, with its destination fixed:");
    for (name, purpose) in &model.older {
        text(&format!(".TP\n\\fB{}\\fR\n{}", escaped(name), escaped(purpose)));
    }
    text(
        ".SH ENVIRONMENT\n.TP\n\\fBTMPDIR\\fR\nWhere images and the content of block devices are written (/tmp).\n.TP\n\\fBSSL_CERT_FILE\\fR\nAuthorities that a build server is trusted by.",
    );
    text(
        ".SH FILES\n.TP\n\\fI/run/albatross/util\\fR\nSockets of the daemons.\n.TP\n\\fINAME.key\\fR, \\fINAME.req\\fR, \\fINAME.pem\\fR\nA private key, a request, a certificate with those above it.",
    );
    text(".SH SEE ALSO\n.BR openssl (1)");
    out
}

fn option(flag: &Flag) -> String {
    let value = flag.value.as_ref().map(|value| format!(" \\fI{}\\fR", escaped(&value.name)));
    let value = value.unwrap_or_default();
    let names = flag.names().iter().map(|name| format!("\\fB{}\\fR", escaped(name))).collect::<Vec<_>>();
    format!(".TP\n{}{value}\n{}.", names.join(", "), escaped(&sentence(&flag.description)))
}

/// With a capital letter at the beginning.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// What roff would take for something of its own.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}
