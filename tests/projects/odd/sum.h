#define SUM sum_of_two
