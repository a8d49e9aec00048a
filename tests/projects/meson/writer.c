#include <stdio.h>
int main(int count, char **words) {
  FILE *file = fopen(words[2], "r");
  for (int c; (c = getc(file)) != EOF;) c == '@' ? fputs(words[1], stdout) : putchar(c);
  return 0;
}
