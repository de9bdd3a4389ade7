//! Files of questions, and which of them are asked.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

#[test]
fn the_usual_shapes_are_read() {
    let text = r#"{"query": "Q", "choices": ["a", "b"], "gold": 1}
{"context_options": ["x", "y"], "continuation": "z", "gold": 0}

{"context": "c", "continuation": "d"}
{"question": "q", "answer": "so it is\n#### 4"}"#;
    let task = parse("t", text).unwrap();
    assert_eq!(task.questions.len(), 4);
    let expected = Question::Choice { question: "Q".into(), choices: vec!["a".into(), "b".into()], gold: 1 };
    assert_eq!(task.questions[0], expected);
    let table =
        parse("mmlu_x", "question,A,B,C,D,answer\n\"What, now?\",one,two,three,four,C\nMore?,1,2,3,4,0\n")
            .unwrap();
    let Question::Choice { question, choices, gold } = &table.questions[0] else { panic!("a choice") };
    assert_eq!(question, "What, now?\nA. one\nB. two\nC. three\nD. four\nAnswer:");
    assert_eq!((choices.len(), *gold, table.questions.len()), (4, 2, 2));
}

#[test]
fn what_is_no_question_is_named_with_its_line() {
    let error = |text: &str| parse("t", text).unwrap_err().to_string();
    assert!(error("{\"query\": \"Q\"}").starts_with("text `t`: line 1: expected query, choices and gold"));
    let gold = error(
        "{\"query\": \"Q\", \"choices\": [\"a\"], \"gold\": 0}\n{\"query\": \"Q\", \"choices\": [\"a\"], \"gold\": 1}",
    );
    assert_eq!(gold, "text `t`: line 2: gold: expected a number below 1, got 1");
    assert!(error("q,1,2,3,4,A\na,b,c,d,e,F").contains("one of A to D"));
    assert!(error("{\"question\": \"q\", \"answer\": \"none\"}").contains("expected a number"));
    assert!(error("").contains("at least one question"));
}

#[test]
fn fewer_questions_are_among_more_and_shown_ones_are_not_asked() {
    let question = |n: usize| Question::Continuation { context: n.to_string(), continuation: "x".into() };
    let task = Task { name: "t".into(), questions: (0..40).map(question).collect() };
    let (few, shown) = run::chosen(&task, 10, 2);
    let (many, same) = run::chosen(&task, 30, 2);
    assert_eq!((few.len(), many.len(), shown.len()), (10, 30, 2));
    assert_eq!((&many[..10], &shown), (&few[..], &same));
    assert!(shown.iter().all(|question| !many.contains(question)));
    assert_eq!(run::chosen(&task, 1000, 2).0.len(), 38);
    let single = Task { name: "t".into(), questions: vec![question(1)] };
    assert_eq!(run::chosen(&single, 10, 2), (vec![question(1)], vec![]));
}

#[test]
fn manners_are_found_by_the_beginning_of_a_name() {
    assert_eq!(manner_of("gsm8k_test").category, "maths");
    assert_eq!(manner_of("mmlu_anatomy_test").category, "knowledge");
    assert_eq!(manner_of("arc_challenge").per, Per::Byte);
    assert_eq!(manner_of("unheard-of"), Manner::default());
}
