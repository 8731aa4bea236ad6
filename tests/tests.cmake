flashback_add_test(policy SOURCES policy/schedule.cpp)
