import c_part, cxx_part, platform
print('TESTED', platform.machine(), cxx_part.word())
