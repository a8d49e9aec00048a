const char *answer_words(void) { return WORDS; }
int answer(void) { return ANSWER; }
const char *answer_file(void) { return __FILE__; }
