// A lesson's text beside its exhibit, and questions to it, which the crate in this page answers.

const quiz = { lesson: 0, seed: 1, is_answered: false };

function ask() {
  $("seed").value = quiz.seed;
  $("question").textContent = wasm.quiz(quiz.lesson, quiz.seed, quiz.is_answered) ? text() : "";
  $("answer").disabled = quiz.is_answered;
}

function read(lesson) {
  const page = $(`lesson-${lesson}`);
  $("lesson").hidden = $("to-lesson").hidden = !page;
  if (!page) return;
  $("lesson-text").replaceChildren(page.content.cloneNode(true));
  $("next-lesson").hidden = !$(`lesson-${lesson + 1}`);
  $("next-lesson").href = `#lesson=${lesson + 1}`;
  Object.assign(quiz, { lesson, seed: 1, is_answered: false });
  ask();
}

$("ask").onclick = () => {
  Object.assign(quiz, { seed: quiz.seed + 1, is_answered: false });
  ask();
};
$("answer").onclick = () => {
  quiz.is_answered = true;
  ask();
  say($("question").textContent);
};
$("seed").onchange = () => {
  Object.assign(quiz, { seed: Math.min(4294967295, Math.max(0, Math.floor(Number($("seed").value)) || 0)), is_answered: false });
  ask();
};
$("to-lesson").onclick = () => $("lesson").scrollIntoView();
$("print").onclick = () => print();
