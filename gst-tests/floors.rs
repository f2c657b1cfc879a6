//! The house rules that a compiler does not know: imports go down only, the core knows no clock, no socket
//! and no random order, nothing is unfinished, and files and functions stay readable.
//!
//! Sources are read as tokens, so that comments and strings do not count and imports written inside a path,
//! a group or a macro do.

use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::Visit;

/// Who may import whom: itself, and what is listed. `time` and `rate` are open to all.
const ROOMS: [(&str, &[&str]); 12] = [
    ("time", &[]),
    ("rate", &["time"]),
    ("wire", &[]),
    ("metainfo", &["wire"]),
    ("stream", &["wire", "metainfo"]),
    ("swarm", &["wire", "metainfo", "stream"]),
    ("discovery", &["wire", "metainfo"]),
    ("store", &["wire", "metainfo"]),
    ("net", &["wire", "metainfo", "stream", "swarm", "discovery", "store"]),
    ("sim", &["wire", "metainfo", "stream", "swarm", "discovery", "store"]),
    ("gst", &["wire", "metainfo", "stream", "swarm", "discovery", "store", "net"]),
    ("cli", &["wire", "metainfo", "stream", "swarm", "discovery", "store", "net", "sim"]),
];
/// Floors 0 to 2.
const CORE: [&str; 8] = ["time", "rate", "wire", "metainfo", "stream", "swarm", "discovery", "store"];
/// Names that the core may not use, as paths of tokens.
const BANNED_IN_CORE: [&[&str]; 9] = [
    &["Instant", "now"],
    &["SystemTime", "now"],
    &["HashMap"],
    &["HashSet"],
    &["TcpStream"],
    &["TcpListener"],
    &["UdpSocket"],
    &["std", "fs"],
    &["fs", "File"],
];
/// The one room of the core that may touch files (and ask glib which folder is the user's cache).
const FILES_ALLOWED_IN: &str = "store";
/// Crates that belong to floors 3 and 4.
const UPPER_CRATES: [&str; 8] =
    ["tokio", "gst", "gst_base", "gst_pbutils", "glib", "axum", "reqwest", "socket2"];
/// Words after which a leading `::` may stand.
const BEFORE_PATHS: [&str; 7] = ["use", "as", "dyn", "impl", "in", "mut", "return"];
/// Macros that mark unfinished work.
const UNFINISHED: [&str; 3] = ["todo", "unimplemented", "dbg"];
/// Lines of a file without its tests.
const MOST_LINES_OF_FILE: usize = 700;
/// Lines from `fn` to the closing brace.
const MOST_LINES_OF_FUNCTION: usize = 90;

#[test]
fn the_house_keeps_its_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 20, "only {} source files found below {}", files.len(), root.display());
    let mut found = Vec::new();
    for file in &files {
        let inside = file.strip_prefix(&root).expect("it was found below the root");
        let text = std::fs::read_to_string(file).expect("sources are UTF-8");
        found.extend(violations(inside.to_str().expect("our names are ASCII"), &text));
    }
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), found.join("\n"));
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the sources can be listed") {
        let path = entry.expect("the sources can be listed").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
}

/// Everything wrong with one file; `path` is relative to `src`.
fn violations(path: &str, source: &str) -> Vec<String> {
    let parsed = match syn::parse_file(source) {
        Ok(parsed) => parsed,
        Err(e) => return vec![format!("{path}: does not parse: {e}")],
    };
    let mut seen = Sight::default();
    seen.visit_file(&parsed);

    let mut report = Report { path, found: Vec::new() };
    if !source.lines().take_while(|line| !line.starts_with("use ")).any(|line| line.starts_with("//!")) {
        report.add(1, "has no module doc (//!)");
    }
    let lines = source.lines().count() - seen.test_lines;
    if lines > MOST_LINES_OF_FILE {
        report.add(1, &format!("has {lines} lines without tests, at most {MOST_LINES_OF_FILE} are allowed"));
    }
    for (name, line, lines) in &seen.functions {
        if *lines > MOST_LINES_OF_FUNCTION {
            report.add(
                *line,
                &format!("fn {name} has {lines} lines, at most {MOST_LINES_OF_FUNCTION} are allowed"),
            );
        }
    }
    let module = module_path(path);
    let tokens: TokenStream = source.parse().expect("it parsed a moment ago");
    let mut scan = Scan { report: &mut report, test_spans: &seen.test_spans, module };
    scan.tokens(tokens);
    report.found
}

/// What is wrong with one file.
struct Report<'a> {
    path: &'a str,
    found: Vec<String>,
}

impl Report<'_> {
    fn add(&mut self, line: usize, what: &str) {
        self.found.push(format!("src/{}:{line}: {what}", self.path));
    }
}

/// The module that a file is: `net/mod.rs` is `[net]`, `net/session.rs` is `[net, session]`.
fn module_path(path: &str) -> Vec<String> {
    let mut parts: Vec<_> = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib") {
        parts.pop();
    }
    parts
}

/// The functions of a file and where its tests are.
#[derive(Default)]
struct Sight {
    functions: Vec<(String, usize, usize)>,
    test_lines: usize,
    test_spans: Vec<(usize, usize)>,
}

impl Sight {
    fn function(&mut self, name: &syn::Ident, from: Span, to: Span) {
        let (first, last) = (from.start().line, to.end().line);
        self.functions.push((name.to_string(), first, last - first + 1));
    }
}

impl<'ast> Visit<'ast> for Sight {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.attrs.iter().any(is_cfg_test) {
            let span = item.span();
            self.test_lines += span.end().line - span.start().line + 1;
            self.test_spans.push((span.start().line, span.end().line));
        } else {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig.ident, item.sig.span(), item.block.span());
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig.ident, item.sig.span(), item.block.span());
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.function(&item.sig.ident, item.sig.span(), item.span());
        syn::visit::visit_trait_item_fn(self, item);
    }
}

fn is_cfg_test(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
}

/// A walk over all tokens of a file that knows in which module it is.
struct Scan<'a, 'b> {
    report: &'a mut Report<'b>,
    test_spans: &'a [(usize, usize)],
    module: Vec<String>,
}

impl Scan<'_, '_> {
    fn tokens(&mut self, stream: TokenStream) {
        let tokens: Vec<_> = stream.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at = self.step(&tokens, at);
        }
    }

    /// Looks at the token `at` and gives the next one to look at.
    fn step(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        match &tokens[at] {
            TokenTree::Group(group) => self.tokens(group.stream()),
            TokenTree::Ident(word) if word == "mod" => {
                if let (Some(TokenTree::Ident(name)), Some(TokenTree::Group(body))) =
                    (tokens.get(at + 1), tokens.get(at + 2))
                {
                    self.module.push(name.to_string());
                    self.tokens(body.stream());
                    self.module.pop();
                    return at + 3;
                }
            }
            TokenTree::Ident(word) if word == "crate" && is_path(tokens, at + 1) => {
                self.import(tokens, at + 3, Vec::new());
            }
            TokenTree::Ident(word) if starts_local_path(word, tokens, at) => {
                self.import(tokens, at, self.module.clone());
            }
            TokenTree::Ident(word) => self.word(&word.to_string(), tokens, at),
            _ => {}
        }
        at + 1
    }

    /// Follows a path or a group of paths from `base` and checks the room that each ends up in.
    fn import(&mut self, tokens: &[TokenTree], at: usize, mut base: Vec<String>) {
        match tokens.get(at) {
            Some(TokenTree::Ident(word)) if *word == "super" && is_path(tokens, at + 1) => {
                base.pop();
                self.import(tokens, at + 3, base);
            }
            Some(TokenTree::Ident(word)) if *word == "self" && is_path(tokens, at + 1) => {
                self.import(tokens, at + 3, base);
            }
            Some(TokenTree::Ident(word)) => {
                base.push(word.to_string());
                self.check_import(&base, word.span());
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<_> = group.stream().into_iter().collect();
                for part in inner.split(|token| matches!(token, TokenTree::Punct(p) if p.as_char() == ',')) {
                    self.import(part, 0, base.clone());
                }
            }
            _ => {}
        }
    }

    fn check_import(&mut self, target: &[String], span: Span) {
        let [from, ..] = self.module.as_slice() else { return };
        let Some((_, allowed)) = ROOMS.iter().find(|(room, _)| room == from) else { return };
        let to = target[0].as_str();
        let is_room = ROOMS.iter().any(|(room, _)| *room == to);
        if is_room && to != from && to != "time" && to != "rate" && !allowed.contains(&to) {
            self.report.add(span.start().line, &format!("{from} may not import {to}"));
        }
    }

    fn word(&mut self, word: &str, tokens: &[TokenTree], at: usize) {
        let line = tokens[at].span().start().line;
        if UNFINISHED.contains(&word) && is_punct(tokens, at + 1, '!') {
            self.report.add(line, &format!("{word}! marks unfinished work"));
        }
        let room = self.module.first().map_or("", String::as_str);
        let in_tests = self.test_spans.iter().any(|(first, last)| (*first..=*last).contains(&line));
        if in_tests || !CORE.contains(&room) {
            return;
        }
        let own = word == "glib" && room == FILES_ALLOWED_IN;
        if UPPER_CRATES.contains(&word) && !own && is_path(tokens, at + 1) && !follows_path(tokens, at) {
            self.report.add(line, &format!("the core may not use {word}"));
        }
        for banned in BANNED_IN_CORE {
            let allowed = banned.contains(&"fs") && room == FILES_ALLOWED_IN;
            if !allowed && matches_path(tokens, at, banned) {
                self.report.add(line, &format!("the core may not use {}", banned.join("::")));
            }
        }
    }
}

/// Whether a path that is relative to the module starts at `at`.
fn starts_local_path(word: &proc_macro2::Ident, tokens: &[TokenTree], at: usize) -> bool {
    (word == "super" || word == "self") && is_path(tokens, at + 1) && !follows_path(tokens, at)
}

/// Whether `wanted` stands at `at`.
fn is_punct(tokens: &[TokenTree], at: usize, wanted: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == wanted)
}

/// Whether `::` stands at `at`.
fn is_path(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens, at, ':') && is_punct(tokens, at + 1, ':')
}

/// Whether `::` with a name before it stands before `at`: a leading `::` starts a path.
fn follows_path(tokens: &[TokenTree], at: usize) -> bool {
    let named = |token: &TokenTree| match token {
        TokenTree::Ident(word) => !BEFORE_PATHS.contains(&word.to_string().as_str()),
        TokenTree::Punct(end_of_generics) => end_of_generics.as_char() == '>',
        _ => false,
    };
    at >= 3 && is_path(tokens, at - 2) && named(&tokens[at - 3])
}

/// Whether the tokens from `at` are the names of `path` with `::` between them.
fn matches_path(tokens: &[TokenTree], at: usize, path: &[&str]) -> bool {
    path.iter().enumerate().all(|(i, name)| {
        let here = at + 3 * i;
        let named = matches!(tokens.get(here), Some(TokenTree::Ident(word)) if word == name);
        named && (i == 0 || is_path(tokens, here - 2))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that breaks no rule but those of `body`.
    fn found(path: &str, body: &str) -> Vec<String> {
        violations(path, &format!("//! A doc.\n\n{body}\n"))
    }

    fn assert_found(path: &str, body: &str, what: &str) {
        let found = found(path, body);
        assert!(found.iter().any(|line| line.contains(what)), "`{what}` was not found in {path}: {found:?}");
        assert_eq!(found.len(), 1, "{found:?}");
    }

    fn assert_clean(path: &str, body: &str) {
        let found = found(path, body);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn imports_that_go_up_or_sideways_are_found_however_they_are_written() {
        assert_found(
            "wire/ids.rs",
            "use crate::metainfo::torrent::Metainfo;",
            "wire may not import metainfo",
        );
        assert_found(
            "store/mod.rs",
            "use crate::{wire::ids::X, swarm::event};",
            "store may not import swarm",
        );
        assert_found("stream/a.rs", "use super::super::swarm::event::State;", "stream may not import swarm");
        assert_found("stream/a.rs", "use super::{b, super::{net, wire}};", "stream may not import net");
        assert_found("stream/mod.rs", "use super::discovery::X;", "stream may not import discovery");
        assert_found("net/a.rs", "fn f() { crate::sim::world() }", "net may not import sim");
        assert_found("sim/a.rs", "fn f() { assert!(crate::net::x()) }", "sim may not import net");
        assert_found("gst/src/imp.rs", "use super::super::super::cli::run;", "gst may not import cli");
        assert_found("cli/a.rs", "mod tests { use super::super::super::gst; }", "cli may not import gst");
        assert_found("rate.rs", "use crate::wire::X;", "rate may not import wire");
    }

    #[test]
    fn imports_that_go_down_are_fine() {
        assert_clean(
            "swarm/a.rs",
            "use crate::{stream::X, rate::Y, time::Instant};\nuse super::event::State;",
        );
        assert_clean("cli/a.rs", "use crate::net::X; use crate::sim::Y; use std::net::IpAddr;");
        assert_clean(
            "net/session.rs",
            "use super::reader; mod tests { use super::*; use super::super::task; }",
        );
        assert_clean("wire/a.rs", "//! [`crate::net`]\n// use crate::net;\nconst S: &str = \"crate::net\";");
        assert_clean("lib.rs", "pub mod net;\nuse crate::net::X;");
        assert_clean("wire/a.rs", "pub(crate) mod b { pub(in crate::wire) fn f() {} }");
    }

    #[test]
    fn clocks_sockets_and_random_orders_are_found_in_the_core_only() {
        let clock = "fn f() { let _ = std::time::Instant::now(); }";
        assert_found("swarm/a.rs", clock, "the core may not use Instant::now");
        assert_clean("net/a.rs", clock);
        assert_clean("swarm/a.rs", "fn f() { let now = crate::time::Instant::from_secs(1); }");
        assert_found("wire/a.rs", "type M = std::collections::HashMap<u8, u8>;", "HashMap");
        assert_found("store/a.rs", "fn f() { tokio::spawn(async {}); }", "the core may not use tokio");
        assert_found("store/a.rs", "use ::gst::Pad;", "the core may not use gst");
        assert_found("discovery/a.rs", "use std::net::{IpAddr, UdpSocket};", "UdpSocket");
        assert_found("metainfo/a.rs", "use std::fs::create_dir;", "std::fs");
        assert_found("wire/a.rs", "fn f(f: &fs::File) {}", "fs::File");
        assert_clean("store/a.rs", "use std::fs::File;");
        assert_clean("wire/a.rs", "#[cfg(test)]\nmod tests { use std::collections::HashMap; }");
    }

    #[test]
    fn unfinished_work_is_found_everywhere() {
        assert_found("cli/a.rs", "fn f() { todo!() }", "todo!");
        assert_found("gst/a.rs", "fn f() { g(|| unimplemented!(\"x\")) }", "unimplemented!");
        assert_found("wire/a.rs", "#[cfg(test)]\nmod tests { fn f() { dbg!(1); } }", "dbg!");
        assert_clean("cli/a.rs", "// todo!()\nfn todo() {}");
    }

    #[test]
    fn long_files_long_functions_and_missing_docs_are_found() {
        let calls = |n: usize| "    g();\n".repeat(n);
        assert_found("cli/a.rs", &format!("fn f() {{\n{}}}", calls(89)), "fn f has 91 lines");
        assert_clean("cli/a.rs", &format!("fn f() {{\n{}}}", calls(88)));
        assert_found("cli/a.rs", &format!("impl X {{ fn f() {{\n{}}} }}", calls(89)), "fn f has 91 lines");
        let constants = "const A: u8 = 0;\n".repeat(698);
        assert_found("cli/a.rs", &constants, "has 701 lines");
        assert_clean("cli/a.rs", &format!("#[cfg(test)]\nmod tests {{\n{constants}}}"));
        assert_eq!(violations("cli/a.rs", "use std::fs;\n//! Late.\n").len(), 1);
        assert!(violations("cli/a.rs", "fn f() {}\n")[0].contains("has no module doc"));
    }
}
