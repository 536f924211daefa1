//! Any text as the input of `plan`: a dump, and after a line `# offerings` the reply of the offerings API.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| autoscaler_fuzz::judge_text(text));
