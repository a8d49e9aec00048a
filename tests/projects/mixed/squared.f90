double precision function squared(x)
  double precision :: x
  squared = x * x
end function
