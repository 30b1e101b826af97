//! Figures of a source tree: how long its functions and files are, how many parameters and public
//! fields they have, how many types share a name, and how plain the comments are.

use std::collections::BTreeMap;
use std::path::Path;

use super::count::{Function, Place, functions, public_fields, type_definitions};
use super::cycles::{Cycle, Imports};
use super::source::Source;

/// Words for people. A comment about code that has one does not name its subject.
const WHO_WORDS: &[&str] = &["who", "whoever", "whom", "whose", "nobody", "somebody"];

/// A function has many parameters from this number on, `self` counted.
const MANY_PARAMETERS: usize = 6;

/// Lines of detail below a measure that is above its ratchet.
const WORST_SHOWN: usize = 12;

/// Lines of detail below the table, for each measure that is above its aim.
const WORST_PRINTED: usize = 40;

/// The figures of one source tree.
pub struct Figures {
    /// Functions of `src` outside tests, the longest first.
    functions: Vec<Function>,
    /// Lines outside tests and path of each file of `src` and `tools`, the longest first.
    files: Vec<(usize, String)>,
    /// Lines and path of each file of `tests`, the longest first.
    test_files: Vec<(usize, String)>,
    broker: Surface,
    src: Surface,
    /// Type definitions of `src` outside tests, by name.
    types: BTreeMap<String, Vec<Place>>,
    /// Comments of `src`, then of `tests` and `tools`.
    src_comments: Prose,
    other_comments: Prose,
    cycles: Vec<Cycle>,
}

/// One figure of a tree: the lower the better.
pub struct Measure {
    pub name: &'static str,
    pub of: fn(&Figures) -> f64,
    /// What makes the figure what it is, the worst first.
    pub worst: fn(&Figures) -> Vec<String>,
    /// A ratchet: the figure of this tree may not be above it. Lower it when the figure falls.
    pub max: f64,
    pub aim: f64,
}

/// All measures, in the order in which they are printed.
pub const MEASURES: &[Measure] = &[
    Measure {
        name: "longest function, lines",
        of: |figures| figures.functions.first().map_or(0, |function| function.lines) as f64,
        worst: Figures::longest_functions,
        max: 60.0,
        aim: 60.0,
    },
    Measure {
        name: "95 % of functions have at most, lines",
        of: |figures| {
            figures.functions.get(figures.functions.len() / 20).map_or(0, |f| f.lines) as f64
        },
        worst: Figures::longest_functions,
        max: 30.0,
        aim: 30.0,
    },
    Measure {
        name: "longest file of src and tools, lines outside tests",
        of: |figures| figures.files.first().map_or(0, |file| file.0) as f64,
        worst: |figures| longest_files(&figures.files),
        max: 500.0,
        aim: 500.0,
    },
    Measure {
        name: "longest file of tests, lines",
        of: |figures| figures.test_files.first().map_or(0, |file| file.0) as f64,
        worst: |figures| longest_files(&figures.test_files),
        max: 581.0,
        aim: 600.0,
    },
    Measure {
        name: "functions with 6 or more parameters, % of src/broker",
        of: |figures| figures.broker.many_parameters_percent(),
        worst: |figures| figures.many_parameters("src/broker"),
        max: 0.7,
        aim: 1.5,
    },
    Measure {
        name: "functions with 6 or more parameters, % of src",
        of: |figures| figures.src.many_parameters_percent(),
        worst: |figures| figures.many_parameters("src"),
        max: 0.6,
        aim: 1.5,
    },
    Measure {
        name: "public fields in 1,000 lines of src/broker",
        of: |figures| figures.broker.fields_per_1000_lines(),
        worst: |figures| figures.broker.fields_of_files.clone(),
        max: 20.0,
        aim: 20.0,
    },
    Measure {
        name: "public fields in 1,000 lines of src",
        of: |figures| figures.src.fields_per_1000_lines(),
        worst: |figures| figures.src.fields_of_files.clone(),
        max: 19.8,
        aim: 20.0,
    },
    Measure {
        name: "types that share a name, % of src",
        of: Figures::shared_types_percent,
        worst: Figures::shared_types,
        max: 5.3,
        aim: 10.0,
    },
    Measure {
        name: "who-words in 1,000 words of comments of src",
        of: |figures| figures.src_comments.who_per_1000_words(),
        worst: |figures| figures.src_comments.who_words.clone(),
        max: 0.3,
        aim: 0.3,
    },
    Measure {
        name: "who-words in 1,000 words of comments of tests and tools",
        of: |figures| figures.other_comments.who_per_1000_words(),
        worst: |figures| figures.other_comments.who_words.clone(),
        max: 0.3,
        aim: 0.3,
    },
    Measure {
        name: "files of src in an import cycle",
        of: |figures| figures.cycles.iter().map(|cycle| cycle.paths.len()).sum::<usize>() as f64,
        worst: |figures| figures.cycles.iter().map(Cycle::to_string).collect(),
        max: 0.0,
        aim: 0.0,
    },
];

/// What a folder shows of itself, outside tests.
#[derive(Default)]
struct Surface {
    functions: usize,
    many_parameters: usize,
    public_fields: usize,
    /// The public fields of each file that has any, the most first.
    fields_of_files: Vec<String>,
    /// Lines that are not empty.
    lines: usize,
}

/// Words of comments.
#[derive(Default)]
struct Prose {
    words: usize,
    /// The place and text of each line that has one, as often as it has.
    who_words: Vec<String>,
}

impl Figures {
    /// Reads `src`, `tests` and `tools` below `root`.
    pub fn of(root: &Path) -> Figures {
        let src = Source::read_all(root, "src");
        let tools = Source::read_all(root, "tools");
        let tests = Source::read_all(root, "tests");
        let mut types: BTreeMap<String, Vec<Place>> = BTreeMap::new();
        for (name, place) in src.iter().flat_map(type_definitions) {
            types.entry(name).or_default().push(place);
        }
        let mut functions: Vec<Function> = src.iter().flat_map(functions).collect();
        functions.sort_by_key(|function| std::cmp::Reverse(function.lines));
        Figures {
            functions,
            files: longest_first(src.iter().chain(&tools), lines_outside_tests),
            test_files: longest_first(&tests, |source| source.text.lines().count()),
            broker: Surface::of(src.iter().filter(|source| source.path.starts_with("src/broker"))),
            src: Surface::of(&src),
            types,
            src_comments: Prose::of(&src),
            other_comments: Prose::of(tests.iter().chain(&tools)),
            cycles: Imports::of(root).cycles(),
        }
    }

    fn longest_functions(&self) -> Vec<String> {
        let line = |f: &Function| format!("{} lines: {} in {}", f.lines, f.name, f.place);
        self.functions.iter().map(line).collect()
    }

    fn many_parameters(&self, folder: &str) -> Vec<String> {
        let mut many: Vec<&Function> = self.functions.iter().filter(|f| f.has_many()).collect();
        many.retain(|function| function.place.path.starts_with(folder));
        many.sort_by_key(|function| std::cmp::Reverse(function.parameters));
        let line =
            |f: &&Function| format!("{} parameters: {} in {}", f.parameters, f.name, f.place);
        many.iter().map(line).collect()
    }

    /// Type definitions with a name that another definition has too, in percent of all.
    fn shared_types_percent(&self) -> f64 {
        let all: usize = self.types.values().map(Vec::len).sum();
        let shared: usize = self.types.values().map(Vec::len).filter(|&count| count > 1).sum();
        ratio(shared, all, 100.0)
    }

    fn shared_types(&self) -> Vec<String> {
        let mut shared: Vec<_> = self.types.iter().filter(|(_, places)| places.len() > 1).collect();
        shared.sort_by_key(|(_, places)| std::cmp::Reverse(places.len()));
        let line = |(name, places): &(&String, &Vec<Place>)| {
            let places: Vec<String> = places.iter().map(Place::to_string).collect();
            format!("{name}: {}", places.join(", "))
        };
        shared.iter().map(line).collect()
    }
}

impl Function {
    fn has_many(&self) -> bool {
        self.parameters >= MANY_PARAMETERS
    }
}

/// Measures above the limit that `max` gives, each with the worst that it counts.
pub fn ratchets(figures: &Figures, max: impl Fn(&Measure) -> f64) -> Vec<String> {
    let above = MEASURES.iter().filter(|measure| (measure.of)(figures) > max(measure));
    let report = |measure: &Measure| {
        let worst = (measure.worst)(figures);
        let worst: Vec<&str> = worst.iter().take(WORST_SHOWN).map(String::as_str).collect();
        let (name, is, max) = (measure.name, (measure.of)(figures), max(measure));
        format!("{name}: {is:.2}, {max:.2} at most\n    {}", worst.join("\n    "))
    };
    above.map(report).collect()
}

/// All figures beside their aims, and beside those of an older tree; then what makes them.
pub fn table(now: &Figures, before: Option<&Figures>) -> String {
    let mut table = format!("{:<56} {:>8} {:>8} {:>8}\n", "measure", "before", "now", "aim");
    for measure in MEASURES {
        let before = before.map_or("-".to_owned(), |tree| format!("{:.1}", (measure.of)(tree)));
        let (name, is, aim) = (measure.name, (measure.of)(now), measure.aim);
        let mark = if is > aim { "  above" } else { "" };
        table += &format!("{name:<56} {before:>8} {is:>8.1} {aim:>8.1}{mark}\n");
    }
    for measure in MEASURES.iter().filter(|measure| (measure.of)(now) > measure.aim) {
        table += &format!("\n{}\n", measure.name);
        for line in (measure.worst)(now).iter().take(WORST_PRINTED) {
            table += &format!("    {}\n", line.replace('\n', "\n    "));
        }
    }
    table
}

impl Surface {
    fn of<'a>(sources: impl IntoIterator<Item = &'a Source>) -> Surface {
        let mut surface = Surface::default();
        let mut fields_of_files = Vec::new();
        for source in sources {
            let functions = functions(source);
            surface.functions += functions.len();
            surface.many_parameters += functions.iter().filter(|f| f.has_many()).count();
            let fields = public_fields(source);
            surface.public_fields += fields;
            fields_of_files.push((fields, source.path.as_str()));
            surface.lines +=
                source.lines_outside_tests().filter(|line| !line.trim().is_empty()).count();
        }
        fields_of_files.sort_by(|a, b| b.cmp(a));
        let some = fields_of_files.iter().filter(|(fields, _)| *fields > 0);
        surface.fields_of_files =
            some.map(|(fields, path)| format!("{fields} public fields: {path}")).collect();
        surface
    }

    /// Functions with many parameters, in percent of all.
    fn many_parameters_percent(&self) -> f64 {
        ratio(self.many_parameters, self.functions, 100.0)
    }

    /// Public fields in a thousand lines outside tests, empty lines left out.
    fn fields_per_1000_lines(&self) -> f64 {
        ratio(self.public_fields, self.lines, 1000.0)
    }
}

impl Prose {
    fn of<'a>(sources: impl IntoIterator<Item = &'a Source>) -> Prose {
        let mut prose = Prose::default();
        for source in sources {
            for (line, text) in &source.comments {
                for word in words_of(text) {
                    prose.words += 1;
                    if WHO_WORDS.contains(&word.to_lowercase().as_str()) {
                        let place = Place { path: source.path.clone(), line: *line };
                        prose.who_words.push(format!("{place}: {}", text.trim()));
                    }
                }
            }
        }
        prose
    }

    /// Words of `WHO_WORDS` in a thousand words of comments.
    fn who_per_1000_words(&self) -> f64 {
        ratio(self.who_words.len(), self.words, 1000.0)
    }
}

fn ratio(part: usize, whole: usize, of: f64) -> f64 {
    part as f64 * of / whole.max(1) as f64
}

fn lines_outside_tests(source: &Source) -> usize {
    source.lines_outside_tests().count()
}

fn longest_files(files: &[(usize, String)]) -> Vec<String> {
    files.iter().map(|(lines, path)| format!("{lines} lines: {path}")).collect()
}

fn longest_first<'a>(
    sources: impl IntoIterator<Item = &'a Source>,
    lines: impl Fn(&Source) -> usize,
) -> Vec<(usize, String)> {
    let mut files: Vec<(usize, String)> =
        sources.into_iter().map(|source| (lines(source), source.path.clone())).collect();
    files.sort_by(|a, b| b.cmp(a));
    files
}

fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '\''))
        .filter(|word| word.contains(char::is_alphabetic))
}
