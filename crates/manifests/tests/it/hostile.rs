//! What strangers write.

use kiln_manifests::{Ignore, Rules, image_list, scan, values};
use proptest::prelude::*;

use super::{shown, source};

#[test]
fn bombs_depth_and_bytes_that_are_no_text_end_in_a_warning() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        bomb += &format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(", "));
    }
    for text in
        [bomb, "{image: ".repeat(10_000), "- ".repeat(10_000), "image: a/b:1\0".into(), "x: [\n image: a/b:1".into()]
    {
        let shown = shown(&text);
        assert!(shown.contains("W UnreadableYaml"), "{shown}");
    }
    // The lines of what is not read are.
    assert!(shown("kind: Pod\0\nimage: a/b:1\n").starts_with("+ 2:8 a/b:1"));
}

#[test]
fn a_line_of_more_than_the_limit_is_a_warning() {
    let shown = shown(&format!("image: a/b:1\nx: {}", "y".repeat(65 << 20)));
    assert!(shown.starts_with("+ 1:8 a/b:1") && shown.contains("more than 64 MiB"));
}

#[test]
fn images_and_mistakes_of_a_file_have_limits() {
    let found = image_list(&source(&"a\n".repeat(30_000)), &Rules::default());
    assert_eq!((found.images.len(), found.diagnostics.len()), (20_000, 1));
    let found = image_list(&source(&"A\n".repeat(30_000)), &Rules::default());
    assert_eq!(found.diagnostics.len(), 1000);
}

#[test]
fn large_definitions_are_read() {
    let property = |i: usize| format!("          p{i}: {{type: string, description: 'image: {i}'}}\n");
    let text = format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: big}}\nspec:\n  versions:\n  - schema:\n      openAPIV3Schema:\n        properties:\n{}",
        (0..40_000).map(property).collect::<String>()
    );
    assert!(text.len() > 2 << 20);
    assert_eq!(shown(&text), "");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_read_places_lie_in_the_text(
        text in "((apiVersion: v1|kind: (Pod|ConfigMap|List|CustomResourceDefinition)|spec:|data:|items:|image: ?|images:|  |- |\\{|\\}|\\[|\\]|\"|'|\\||a/b:1|&a |\\*a|#|\\{\\{|\\}\\}|,|repository: x|tag: 1.10|containers:|é|\r?\n)){0,40}"
    ) {
        let source = source(&text);
        let (ignore, _) = Ignore::parse(&source);
        for scan in [scan(&source, &Rules::default()), values(&source, None, &Rules { ignore }), image_list(&source, &Rules::default())] {
            for found in &scan.images {
                prop_assert!(text.get(found.place.span.start..found.place.span.end).is_some());
                prop_assert_eq!(source.position(found.place.span.start), (found.place.line, found.place.column));
            }
            for diagnostic in &scan.diagnostics {
                let _ = kiln_spec::diag::render(diagnostic, &source, false);
            }
        }
    }
}
